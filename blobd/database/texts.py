"""What a text must be before any database sees it.

PostgreSQL keeps no NUL, neither database keeps half of a surrogate pair (JSON can spell both), and
PostgreSQL refuses what is longer than its column. Everything that reaches a column is held to
`problem` by the catalog, on either database; what may be left out instead of failing a request is
held to it before.
"""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_UNTAKEN = re.compile("[\0\ud800-\udfff]")


def problem(text: str, *, most: int | None = None) -> str | None:
    """Return why a database does not take a text, in words; None where it does.

    `most` is how many characters there is room for.
    """
    if "\0" in text:
        return "holds a NUL"
    if not text.isascii() and _SURROGATE.search(text) is not None:
        return "holds half of a surrogate pair"
    if most is not None and len(text) > most:
        return f"has {len(text)} characters, of which {most} are taken"
    return None


def taken(text: str, *, most: int | None = None) -> str:
    """Return a text as every database takes it, for records that must be kept in any case.

    What none takes is replaced by U+FFFD, and the text is cut to `most` characters.
    """
    return _UNTAKEN.sub("\ufffd", text)[:most]
