"""What answers say in header lines that may be many: tags and warnings.

Proxies bound the head of an answer: nginx by one buffer (`proxy_buffer_size`, 4 or 8 KiB by
default), HAProxy and Python's http.client at about 100 lines. So all of it here takes at most
7,000 bytes and 25 lines, and the whole head stays below 8 KiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_TAGS_MAX_BYTES = 5500
_LINE_MAX_BYTES = 2000
_WARNINGS_MAX = 20
_WARNINGS_MAX_BYTES = 4096
_LAST_WARNING_BYTES = 40
_MAX_BYTES = 7000


def push_headers(tags: Iterable[str], warnings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the `OCI-Tag` and `Warning` lines of a push: name and value.

    Tags are a list (RFC 9110, section 5.3), as the distribution specification allows. Those that
    do not fit are set all the same, and a warning says so.
    """
    distinct = list(dict.fromkeys(tags))
    lines = list(_tag_lines(distinct))
    for line in lines:
        yield "OCI-Tag", line
    named = sum(line.count(",") + 1 for line in lines)
    if named < len(distinct):
        left_out = f"all {len(distinct)} tags are set; OCI-Tag has room for {named} of them"
        warnings = (left_out, *warnings)
    room_bytes = min(_WARNINGS_MAX_BYTES, _MAX_BYTES - sum(map(len, lines)))
    for line in _warning_lines(warnings, room_bytes):
        yield "Warning", line


def warning_headers(warnings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the `Warning` lines of any other answer: name and value."""
    for line in _warning_lines(warnings, _WARNINGS_MAX_BYTES):
        yield "Warning", line


def _tag_lines(tags: Sequence[str]) -> Iterator[str]:
    room_bytes = _TAGS_MAX_BYTES
    line = ""
    for tag in tags:
        room_bytes -= len(tag) + 2
        if room_bytes < 0:
            break
        if line and len(line) + len(tag) + 2 > _LINE_MAX_BYTES:
            yield line
            line = ""
        line = f"{line}, {tag}" if line else tag
    if line:
        yield line


def _warning_lines(warnings: Sequence[str], room_bytes: int) -> Iterator[str]:
    """Yield values of Warning: code 299, no agent, no date (R72; RFC 7234, section 5.5).

    All of them together have at most so many bytes; what does not fit is counted. There is a line
    for each, as clients expect that print them.
    """
    for number, warning in enumerate(warnings):
        plain = "".join(character if " " <= character <= "~" else "?" for character in warning)
        escaped = plain.replace("\\", r"\\").replace('"', r"\"")
        line = f'299 - "{escaped}"'
        room_bytes -= len(line)
        if room_bytes < _LAST_WARNING_BYTES or number == _WARNINGS_MAX:
            yield f'299 - "and {len(warnings) - number} more of the kind"'
            return
        yield line
