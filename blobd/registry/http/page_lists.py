"""What lists on pages are asked for: which page of them, and what to search for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.database import texts
from blobd.registry.pages.view_models import Paging

if TYPE_CHECKING:
    from aiohttp import web

PER_PAGE = 30
_PAGE_MAX_DIGITS = 7
_TEXT_MAX_CHARACTERS = 200


def page_number(request: web.BaseRequest) -> int:
    """Return which page is asked for; what is no number is the first."""
    text = request.query.get("page", "1")
    if not text.isascii() or not text.isdigit() or len(text) > _PAGE_MAX_DIGITS:
        return 1
    return max(int(text), 1)


def search_text(request: web.BaseRequest) -> str:
    """Return what is searched for, in lower case as names are; empty: nothing in particular."""
    text = request.query.get("q", "").strip().lower()[:_TEXT_MAX_CHARACTERS]
    return "" if texts.problem(text) else text


def paging(number: int, total: int, **query: str) -> Paging:
    """Return the number of the page, within the list's length."""
    pages = max(1, -(-total // PER_PAGE))
    return Paging(number, pages, {name: value for name, value in query.items() if value})
