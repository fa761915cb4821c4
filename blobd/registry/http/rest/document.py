"""The OpenAPI document of the management API, made of its operations."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blobd.registry.catalog.accounts import ORGANISATION, USER, Account
from blobd.registry.catalog.sources import Source
from blobd.registry.catalog.teams import Team
from blobd.registry.http.rest.operation import PER_PAGE, PER_PAGE_MAX
from blobd.registry.http.rest.owners import OwnerShapes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blobd.registry.http.rest.operation import Operation

_PLACE = re.compile(r"\{(\w+)\}")


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    """Return an object that has exactly these members."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def _list(of: str | dict[str, Any]) -> dict[str, Any]:
    items = {"$ref": f"#/components/schemas/{of}"} if isinstance(of, str) else of
    return {"type": "array", "items": items}


_WORDS: dict[type, str] = {str: "string", int: "integer", bool: "boolean"}


def _like(example: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of objects that have the members of an example; null: a text, or null.

    `more` are members that the example cannot show, by their schemas.
    """
    members: dict[str, dict[str, Any]] = {}
    for name, value in example.items():
        if isinstance(value, dict):
            members[name] = _like(value)
        elif value is None:
            members[name] = {"type": ["string", "null"]}
        else:
            members[name] = {"type": _WORDS[type(value)]}
    return _object(**members, **more)


_TEXT: dict[str, Any] = {"type": "string"}
_PERHAPS: dict[str, Any] = {"type": ["string", "null"]}
_NUMBER: dict[str, Any] = {"type": "integer"}
_YES_NO: dict[str, Any] = {"type": "boolean"}
_DOWNLOADS: dict[str, Any] = {
    "type": "integer",
    "description": "A download is counted within two seconds after it.",
}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_PERHAPS_TIME: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
_VISIBILITY: dict[str, Any] = {"type": "string", "enum": ["private", "internal", "public"]}
_GIVEN = _object(kind=_TEXT, name=_TEXT, role=_TEXT)
_GIVEN_HERE = _object(kind=_TEXT, name=_TEXT, role=_TEXT, inherited=_YES_NO)
_SHAPES = OwnerShapes("")
_USER = Account(0, "", USER, is_administrator=False, created_at=0.0, disabled_at=None)
_ORGANISATION = replace(_USER, kind=ORGANISATION)
_SOURCE = Source(0, "", "", "private", created_at=0.0, owner_id=0, owner_kind=USER)
_PACKAGE: dict[str, dict[str, Any]] = {
    "id": _NUMBER,
    "name": _TEXT,
    "package_type": {"type": "string", "const": "container"},
    "owner": _like(_SHAPES.simple("", 0, USER)),
    "version_count": _NUMBER,
    "visibility": _VISIBILITY,
    "url": _TEXT,
    "created_at": _TIME,
    "updated_at": _TIME,
    "html_url": _TEXT,
    "description": _PERHAPS,
    "license": _PERHAPS,
    "source_url": _PERHAPS,
    "download_count": _DOWNLOADS,
    "inherits": _YES_NO,
    "immutable_tags": _YES_NO,
    "sparse_indexes": _YES_NO,
}
_VERSION: dict[str, dict[str, Any]] = {
    "id": _NUMBER,
    "name": _TEXT,
    "url": _TEXT,
    "package_html_url": _TEXT,
    "html_url": _TEXT,
    "created_at": _TIME,
    "updated_at": _TIME,
    "description": _PERHAPS,
    "license": _PERHAPS,
    "metadata": _object(package_type=_TEXT, container=_object(tags=_list(_TEXT))),
    "size_bytes": _NUMBER,
    "download_count": _DOWNLOADS,
    "last_pulled_at": _PERHAPS_TIME,
    "platforms": _list(_TEXT),
    "artifact_type": _PERHAPS,
    "parents": _list(_object(name=_TEXT, tags=_list(_TEXT))),
    "children": _list(_TEXT),
}
_REPOSITORY = _like(_SHAPES.minimal_repository(_SOURCE))

SCHEMAS: dict[str, dict[str, Any]] = {
    "Package": _object(**_PACKAGE)
    | {"properties": {**_PACKAGE, "repository": _REPOSITORY, "deleted_at": _TIME}},
    "PackageList": _list("Package"),
    "Version": _object(**_VERSION) | {"properties": {**_VERSION, "deleted_at": _TIME}},
    "VersionList": _list("Version"),
    "Access": _object(
        visibility=_VISIBILITY,
        inherits=_YES_NO,
        repository=_PERHAPS,
        roles=_list(_GIVEN_HERE),
        workflows=_list(_object(repository=_TEXT, kind=_TEXT, role=_TEXT, may_publish=_YES_NO)),
    ),
    "Overwritten": _object(
        inherits=_YES_NO, overwritten=_object(visibility=_VISIBILITY, roles=_list(_GIVEN_HERE))
    ),
    "Own": _like(
        {
            **_SHAPES.private(_USER, public_sources=0, private_sources=0),
            "administrator": False,
            "workflow": None,
        },
        scopes=_list(_TEXT),
    ),
    "Account": _like(_SHAPES.public(_USER, public_sources=0)),
    "AccountList": _list(_like(_SHAPES.listed(_USER))),
    "Organisation": _like(_SHAPES.organisation(_ORGANISATION, public_sources=0)),
    "OrganisationList": _list(_like(_SHAPES.listed(_ORGANISATION))),
    "MemberList": _list(_like({**_SHAPES.simple("", 0, USER), "role": ""})),
    "TeamList": _list(_like(_SHAPES.team("", Team(0, "")))),
    "TeamMemberList": _list(_like({**_SHAPES.simple("", 0, USER), "name": ""})),
    "SourceList": _list(_like(_SHAPES.listed_repository(_SOURCE))),
    "Repository": _like(_SHAPES.repository(_SOURCE)),
    "RoleList": _list(_GIVEN),
    "MadeToken": _object(id=_TEXT, token=_TEXT, expires_at=_PERHAPS_TIME),
    "TokenList": _list(
        _object(
            id=_TEXT,
            hint=_TEXT,
            note=_TEXT,
            scopes=_list(_TEXT),
            created_at=_TIME,
            expires_at=_PERHAPS_TIME,
            last_used_at=_PERHAPS_TIME,
            revoked_at=_PERHAPS_TIME,
        )
    ),
    "AuditList": _list(
        _object(
            id=_NUMBER,
            at=_TIME,
            actor=_TEXT,
            action=_TEXT,
            package=_PERHAPS,
            digest=_PERHAPS,
            detail=_PERHAPS,
            token_id=_PERHAPS,
            address=_PERHAPS,
        )
    ),
    "Error": _object(message=_TEXT, documentation_url=_TEXT, status=_TEXT, code=_TEXT),
}


def make_document(operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the document, in OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "blobd management API",
            "version": "1",
            "description": (
                "Packages, their versions and access to them, by the paths and fields "
                "of GitHub's REST API for packages where it has them. Slashes in names are sent "
                "as %2F."
            ),
        },
        "servers": [{"url": "/api"}],
        "security": [{"token": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACE.findall(operation.path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": field.required, "schema": field.schema()}
        for name, field in operation.query.items()
    ]
    if operation.pages:
        parameters += [
            _counted("page", 1, "Which page; beyond the last there is nothing."),
            _counted("per_page", PER_PAGE, f"Entries in a page; over {PER_PAGE_MAX}: that many."),
        ]
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _responses(operation),
    }
    if operation.body:
        required = [name for name, field in operation.body.items() if field.required]
        schema: dict[str, Any] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: field.schema() for name, field in operation.body.items()},
        }
        if required:
            schema["required"] = required
        described["requestBody"] = {
            "required": bool(required),
            "content": {"application/json": {"schema": schema}},
        }
    return described


def _counted(name: str, default: int, what: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "default": default}
    return {"name": name, "in": "query", "description": what, "schema": schema}


def _responses(operation: Operation) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if operation.answer is None:
        responses["204"] = {"description": "Done."}
    else:
        reference = {"$ref": f"#/components/schemas/{operation.answer}"}
        responses[str(operation.status)] = {
            "description": operation.summary,
            "content": {"application/json": {"schema": reference}},
        }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status, why in (
        ("400", "It cannot be understood; the message says what."),
        ("401", "No credential, or one that does not count."),
        ("403", "The caller's role or token is not enough, or another site sent it."),
        ("404", "Not there, or not for the caller."),
        ("408", "The body did not come."),
        ("409", "It would break a promise; the message says what to do first."),
        ("415", "The body's Content-Type is not that of JSON."),
        ("429", "Too many failed logins; see Retry-After."),
        ("503", "Trouble that passes; see Retry-After."),
    ):
        responses[status] = {"description": why, "content": error}
    return responses
