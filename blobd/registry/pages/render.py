"""From facts to HTML, and the headers that keep it harmless.

Everything that a user has written is escaped by the template engine, which is set to escape all
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

    from blobd.registry.catalog.packages import Package
    from blobd.registry.pages.view_models import Around

ROOT = "/packages"
"""Where the pages are, on the registry's address."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Vary": "Authorization, Cookie",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not `no-referrer`: browsers then send forms with `Origin: null`, which is another site's
    "Referrer-Policy": "same-origin",
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


def render(template: str, around: Around, **facts: object) -> str:
    """Return a page: what a template makes of its facts, which it names."""
    return _environment().get_template(template).render(around=around, **facts)


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
    environment.filters["moment"] = _moment
    environment.filters["count"] = _count
    environment.filters["short"] = _short
    environment.globals["asset_url"] = _asset_url
    environment.globals["root"] = ROOT
    environment.globals["package_path"] = package_path
    return environment


def package_path(package: Package) -> str:
    """Return the path of a package's page; of nothing else, since no name has `-` as a part."""
    return f"{ROOT}/{package.owner}/{package.name}"


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


def _moment(at: float) -> Markup:
    """Return a moment to the minute, in UTC, with the second for machines."""
    moment = datetime.fromtimestamp(at, UTC).replace(microsecond=0)
    exact = moment.isoformat().replace("+00:00", "Z")
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(
        exact, f"{moment:%Y-%m-%d %H:%M} UTC"
    )


def _count(number: int) -> str:
    return f"{number:,}"


def _short(digest: object) -> str:
    """Return a digest's beginning, enough to distinguish it from others."""
    algorithm, _, encoded = str(digest).partition(":")
    return f"{algorithm}:{encoded[:12]}"
