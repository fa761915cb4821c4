"""From facts to HTML, and the headers that keep it harmless.

Everything that a user has written is escaped by the template engine, which is told to escape all
of it and to fail on a name it does not know. Nothing is loaded from elsewhere and nothing inline
runs: the policy allows this server's own style sheet and script alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from blobd.registry.pages.facts import OwnerFacts, PackageFacts

ROOT = "/packages"
"""Where the pages are, on the registry's address."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_ASSETS = {
    "style.css": "text/css",
    "copy.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages refer to; its URL changes with its content, so it may be kept for ever."""

    content: bytes
    media_type: str
    tag: str


@cache
def asset(name: str) -> Asset | None:
    """Return one of the pages' own files. Reads it at the first call."""
    media_type = _ASSETS.get(name)
    if media_type is None:
        return None
    content = files(__package__).joinpath("static", name).read_bytes()
    return Asset(content, media_type, hashlib.sha256(content).hexdigest()[:16])


def render_package(facts: PackageFacts, *, host: str, visitor: str) -> str:
    """Return the page of a package. `host` is what to pull from; `visitor` empty: anonymous."""
    return (
        _environment()
        .get_template("package.html")
        .render(package=facts, host=host, visitor=visitor)
    )


def render_owner(facts: OwnerFacts, *, host: str, visitor: str) -> str:
    """Return an owner's list of packages."""
    return _environment().get_template("owner.html").render(owner=facts, host=host, visitor=visitor)


def render_root(*, host: str, closed: bool) -> str:
    """Return the page that says what this address is; `closed`: how to log in too."""
    return _environment().get_template("root.html").render(host=host, visitor="", closed=closed)


def render_home(*, host: str, visitor: str) -> str:
    """Return the page that says where packages are, and where to sign in."""
    return _environment().get_template("home.html").render(host=host, visitor=visitor)


def render_missing(*, host: str, visitor: str) -> str:
    """Return the page for what is not there, or not for this visitor; it says the same of both."""
    return _environment().get_template("missing.html").render(host=host, visitor=visitor)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("blobd.registry.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["size"] = _size
    environment.filters["day"] = _day
    environment.filters["count"] = _count
    environment.filters["short"] = _short
    environment.globals["asset_url"] = _asset_url
    environment.globals["root"] = ROOT
    return environment


def _asset_url(name: str) -> str:
    found = asset(name)
    if found is None:
        raise LookupError(f"pages have no file {name}")
    return f"{ROOT}/-/{found.tag}/{name}"


def _size(size_bytes: int) -> str:
    """Return a size as people read it: 12.3 MB, in powers of 1000 as docker prints them."""
    value = float(size_bytes)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def _day(at: float) -> Markup:
    """Return a moment as a day, with the exact time for who asks."""
    moment = datetime.fromtimestamp(at, UTC).replace(microsecond=0)
    exact = moment.isoformat().replace("+00:00", "Z")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(
        exact, moment.date().isoformat()
    )


def _count(number: int) -> str:
    return f"{number:,}"


def _short(digest: object) -> str:
    """Return a digest's beginning, enough to tell it from its neighbours."""
    algorithm, _, encoded = str(digest).partition(":")
    return f"{algorithm}:{encoded[:12]}"
