"""What an image says of itself: the labels that describe a package. No I/O.

An image says it in its configuration's labels (image-spec, config.md), an index in its annotations
(annotations.md). A text that is too long is cut, a value of the wrong form describes nothing; both
come with a warning and never make a push fail.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import idna

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "org.opencontainers.image."
SOURCE, DESCRIPTION, LICENCES = f"{_PREFIX}source", f"{_PREFIX}description", f"{_PREFIX}licenses"
DESCRIPTION_MAX_CHARACTERS = 512
LICENCES_MAX_CHARACTERS = 256
_SOURCE_MAX_CHARACTERS = 2048
_CONFIG_MAX_BYTES = 4 * 1024 * 1024
_SPDX = re.compile(r"[A-Za-z0-9.+-]+(?:[ ()]+[A-Za-z0-9.+:-]+)*[)]*|[(][A-Za-z0-9.+:() -]+[)]")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$")
_HOST_MAX_CHARACTERS = 253
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class SourceLink:
    """Where the sources are said to be."""

    url: str
    host: str
    owner: str
    name: str


@dataclass(frozen=True, slots=True)
class Description:
    """What a package's page shows of a version, and what the push is to be warned of."""

    text: str | None = None
    licences: str | None = None
    source: SourceLink | None = None
    warnings: tuple[str, ...] = ()


def labels_of_config(content: bytes) -> Mapping[str, str]:
    """Return the labels of an image's configuration; none where it is not one."""
    if len(content) > _CONFIG_MAX_BYTES:
        return {}
    try:
        document: Any = json.loads(content)
        labels = document["config"]["Labels"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return _texts(labels)


def platform_of_config(content: bytes) -> str | None:
    """Return what an image is for, as `linux/arm64/v8`; None where its configuration is none."""
    if len(content) > _CONFIG_MAX_BYTES:
        return None
    try:
        document: Any = json.loads(content)
        parts = [document["os"], document["architecture"], document.get("variant")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    words = [part for part in parts if part]
    if not all(isinstance(word, str) and _PART.fullmatch(word) for word in words):
        return None
    return "/".join(words)


def describe(labels: Mapping[str, str]) -> Description:
    """Return what labels or annotations say that fits, and a warning for what does not."""
    warnings: list[str] = []
    return Description(
        text=_described(labels.get(DESCRIPTION), warnings),
        licences=_licensed(labels.get(LICENCES), warnings),
        source=_sourced(labels.get(SOURCE), warnings),
        warnings=tuple(warnings),
    )


def _described(text: str | None, warnings: list[str]) -> str | None:
    if text is None or not text.strip():
        return None
    # one line of plain text: a page must not be laid out by whom it describes
    plain = "".join(" " if _is_control(character) else character for character in text)
    return _cut(" ".join(plain.split()), DESCRIPTION, DESCRIPTION_MAX_CHARACTERS, warnings)


def _licensed(text: str | None, warnings: list[str]) -> str | None:
    if text is None or not text.strip():
        return None
    if _SPDX.fullmatch(text.strip()) is None:
        _warn(warnings, LICENCES, "is not an SPDX licence expression")
        return None
    return _cut(text.strip(), LICENCES, LICENCES_MAX_CHARACTERS, warnings)


def _cut(text: str, key: str, most: int, warnings: list[str]) -> str:
    """Return a text of at most so many characters; one that was longer ends in an ellipsis.

    Most clients print no warning: the ellipsis shows on the page what happened.
    """
    if len(text) <= most:
        return text
    warnings.append(f"{key} has {len(text)} characters and is cut after {most}")
    return f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _sourced(text: str | None, warnings: list[str]) -> SourceLink | None:
    if text is None or not text.strip():
        return None
    if len(text) > _SOURCE_MAX_CHARACTERS:
        _warn(warnings, SOURCE, f"has {len(text)} of {_SOURCE_MAX_CHARACTERS} characters")
        return None
    link = _parse_source(text.strip())
    if link is None:
        _warn(warnings, SOURCE, "is not of the form https://HOST/OWNER/REPOSITORY")
    return link


def _parse_source(text: str) -> SourceLink | None:
    # urlsplit would leave some of these out without a word
    if any(character.isspace() or _is_control(character) for character in text):
        return None
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return None
    if url.scheme not in _DEFAULT_PORTS or "@" in url.netloc:
        return None
    before, colon, after = url.netloc.rpartition(":")
    host = parse_host(before if colon and "]" not in after else url.netloc)
    parts = unquote(url.path).strip("/").removesuffix(".git").split("/")
    if host is None or len(parts) != 2 or any(_PART.fullmatch(part) is None for part in parts):
        return None
    owner, name = parts
    at = host if port in {None, _DEFAULT_PORTS[url.scheme]} else f"{host}:{port}"
    clean = f"{url.scheme}://{at}/{owner}/{name}"
    return SourceLink(clean, host, owner.lower(), name.lower())


def parse_host(text: str) -> str | None:
    """Return a valid host in the form that the URL standard gives it; None where it is none.

    A domain (in ASCII, by UTS 46), an IPv4 address of four decimal numbers, or an IPv6 address in
    brackets (url.spec.whatwg.org, "Host writing"). As its parser does, `_` is let in: hosts of
    container networks have it.
    """
    try:
        if text.startswith("[") and text.endswith("]") and "%" not in text:
            return f"[{IPv6Address(text[1:-1])}]"
        if len(text) > _HOST_MAX_CHARACTERS:
            return None
        name = text.lower() if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
        if "xn--" in name:
            idna.decode(name)
        if _DOMAIN.fullmatch(name) is None or len(name) > _HOST_MAX_CHARACTERS:
            return None
        # what ends in a number is an IPv4 address or no host at all
        return str(IPv4Address(name)) if _NUMERIC.search(name) else name
    except ValueError:
        return None


def _warn(warnings: list[str], label: str, why: str) -> None:
    warnings.append(f"{label} {why}; it was not taken over")


def _texts(labels: object) -> Mapping[str, str]:
    if not isinstance(labels, dict):
        return {}
    return {
        key: value
        for key, value in labels.items()
        if isinstance(key, str) and isinstance(value, str)
    }


def _is_control(character: str) -> bool:
    """Whether a character is no text: controls, and the marks that turn its direction round."""
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn"}
