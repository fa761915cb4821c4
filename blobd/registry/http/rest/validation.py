"""Reading what a call says: its query and its body, held to what its operation takes."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from blobd.database import texts
from blobd.http.errors import MediaTypeUnsupported, RequestInvalid, RouteUnknown
from blobd.registry.http.rest.operation import PAGE_MAX, PER_PAGE, PER_PAGE_MAX, Field, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from blobd.http.whole_bodies import WholeBodies

_JSON = "application/json"
_BODY_MAX_BYTES = 64 * 1024
_BODY_WITHIN_S = 10.0


def check_path(request: web.BaseRequest, arguments: Mapping[str, str]) -> None:
    """Raise RouteUnknown where a path names what no database could have kept."""
    if any(texts.problem(value) for value in arguments.values()):
        raise RouteUnknown(f"there is nothing at {request.rel_url.raw_path[:200]}")


def check_media_type(request: web.BaseRequest) -> None:
    """Raise MediaTypeUnsupported for a call with a body that does not say that it is JSON.

    Pages of other sites can send forms and plain text without asking, but not this.
    """
    if request.method in {"GET", "HEAD"}:
        return
    said = request.headers.get("Content-Type")
    if said is None and not request.body_exists:
        return
    media_type = "" if said is None else said.partition(";")[0].strip().lower()
    if media_type != _JSON and not re.fullmatch(r"application/[\w.-]+\+json", media_type):
        raise MediaTypeUnsupported(said, _JSON)


def read_page(request: web.BaseRequest) -> tuple[int, int]:
    """Return which page is asked for, and how long pages are: longer ones are cut to the longest.

    Raises RequestInvalid.
    """
    page = _number(request, "page", 1, PAGE_MAX)
    return page, _number(request, "per_page", PER_PAGE, PER_PAGE_MAX)


def read_query(request: web.BaseRequest, fields: Mapping[str, Field]) -> dict[str, str]:
    """Return what the query says of these fields. Raises RequestInvalid."""
    found = {}
    for name, field in fields.items():
        if name in request.query:
            found[name] = _text(name, request.query[name], field)
        elif field.required:
            raise RequestInvalid(f"the query parameter {name} is missing")
    return found


async def read_body(
    bodies: WholeBodies, request: web.BaseRequest, fields: Mapping[str, Field]
) -> dict[str, Any]:
    """Return the members of a JSON body. Raises RequestInvalid, and what WholeBodies does."""
    if not fields:
        return {}
    content = await bodies.read(
        request,
        limit_bytes=_BODY_MAX_BYTES,
        within_s=_BODY_WITHIN_S,
        too_large=RequestInvalid(f"the body is over {_BODY_MAX_BYTES} bytes"),
    )
    try:
        document = json.loads(content or b"{}")
    except (ValueError, RecursionError) as error:
        raise RequestInvalid("the body is not JSON") from error
    if not isinstance(document, dict):
        raise RequestInvalid("the body is not a JSON object")
    return check_fields(document, fields)


def check_fields(document: Mapping[str, object], fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return values by their names, each held to its field. Raises RequestInvalid."""
    unknown = sorted(document.keys() - fields.keys())
    if unknown:
        raise RequestInvalid(f"{unknown[0][:60]!r} is not among {', '.join(fields)}")
    for name, field in fields.items():
        if field.required and name not in document:
            raise RequestInvalid(f"{name} is missing")
    return {name: _checked(name, value, fields[name]) for name, value in document.items()}


def _checked(name: str, value: object, field: Field) -> Any:
    wrong = RequestInvalid(f"{name} must be {_described(field)}")
    match field.kind:
        case Kind.TEXT if isinstance(value, str):
            return _text(name, value, field)
        case Kind.BOOLEAN if isinstance(value, bool):
            return value
        case Kind.NUMBER if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise wrong
            if field.least is not None and value < field.least:
                raise wrong
            if field.most is not None and value > field.most:
                raise wrong
            return float(value)
        case Kind.STRING_LIST if isinstance(value, list) and value:
            if not all(isinstance(each, str) and each in field.choices for each in value):
                raise wrong
            return tuple(value)
        case _:
            raise wrong


def _text(name: str, value: str, field: Field) -> str:
    most = None if field.most is None else int(field.most)
    if texts.problem(value, most=most) or (field.choices and value not in field.choices):
        raise RequestInvalid(f"{name} must be {_described(field)}")
    return value


def _described(field: Field) -> str:
    if field.choices:
        return (
            f"{'some' if field.kind is Kind.STRING_LIST else 'one'} of {', '.join(field.choices)}"
        )
    words = {Kind.TEXT: "a text", Kind.BOOLEAN: "true or false", Kind.NUMBER: "a number"}
    limit = "" if field.most is None else f" of at most {field.most:g}"
    return words.get(field.kind, "a list") + limit


def _number(request: web.BaseRequest, name: str, default: int, most: int) -> int:
    text = request.query.get(name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not text.strip("0"):
        raise RequestInvalid(f"{name} must be a number, 1 or more")
    digits = text.lstrip("0")
    return most if len(digits) > len(str(most)) else min(int(digits), most)
