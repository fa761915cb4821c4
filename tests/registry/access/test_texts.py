"""Texts that no database takes, at every field and in every path of the management API."""

from __future__ import annotations

import base64
import json
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.registry.test_texts import against_a_daemon, hostile

if TYPE_CHECKING:
    from tests.registry.access.conftest import Client, Town

JSON = {"Content-Type": "application/json"}
_METHODS = {"get", "post", "put", "patch", "delete"}


def _calls(client: Client) -> list[tuple[str, str, dict[str, Any]]]:
    """Return method, path and operation of every call that the API's document has."""
    paths = client.get("/api/openapi.json").json()["paths"]
    return [
        (method.upper(), path, operation)
        for path, operations in sorted(paths.items())
        for method, operation in sorted(operations.items())
        if method in _METHODS
    ]


def _value(schema: Any, text: str) -> object:
    """Return a value that fits but for its text, where it is one."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "array":
        return [_value(schema["items"], text)]
    if kind == "number":
        return schema.get("minimum", 1)
    return True if kind == "boolean" else text


@pytest.fixture
def known(town: Town) -> dict[str, str]:
    """What parameters of paths may name, none of which another test relies on."""
    admin = town.admin()
    for path, body in (
        ("/api/users", {"name": "texter"}),
        ("/api/orgs", {"name": "texts", "owner": "texter"}),
        ("/api/orgs/texts/teams", {"name": "crew"}),
        ("/api/repos/texts", {"name": "code", "visibility": "private"}),
    ):
        answer = admin.send("POST", path, json.dumps(body).encode(), JSON)
        assert answer.status in {201, 204, 409}, (path, answer.body)
    admin.push_image("texts/app", "v1")
    names = {"organisation": "texts", "user": "texter", "team": "crew", "name": "app", "tag": "v1"}
    return names | {"grantee": "texter", "source": "texts%2Fcode", "kind": "automation"}


@against_a_daemon
@given(st.data())
def test_no_text_in_any_call_is_a_fault(
    town: Town, known: dict[str, str], data: st.DataObject
) -> None:
    """Refused in words, or kept as it is; never a 500."""
    admin = town.admin()
    method, template, operation = data.draw(st.sampled_from(_calls(admin)))
    owner = "texter" if "/users/" in template else "texts"

    def argument(match: re.Match[str]) -> str:
        name = match[1]
        if data.draw(st.integers(0, 3)):
            return {"owner": owner, **known}.get(name, "1")
        return quote(_in_utf8(data.draw(hostile)) or b"x", safe="")

    path = re.sub(r"\{(\w+)\}", argument, template)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    fields = body.get("schema", {}).get("properties", {})
    content = {name: _value(schema, data.draw(hostile)) for name, schema in fields.items()}
    query = {
        each["name"]: each["schema"].get("enum", [_in_utf8(data.draw(hostile))])[0]
        for each in operation.get("parameters", [])
        if each["in"] == "query" and each["schema"]["type"] == "string"
    }
    sent = json.dumps(content).encode() if fields else None
    answer = admin.send(method, f"/api{path}?{urlencode(query)}", sent, JSON if fields else {})
    assert answer.status < 500, (method, path, query, content, answer.body)


def _in_utf8(text: str) -> bytes:
    """Return a text's bytes as a careless client makes them, halves of pairs included."""
    return text[:200].encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("user", ["a\0b", "\0", "x" * 300])
@pytest.mark.parametrize("secret", ["blobd_pat_\0", "\0", "x" * 3000])
def test_no_text_in_a_credential_is_a_fault(town: Town, user: str, secret: str) -> None:
    """Refused like any wrong password."""
    shown = base64.b64encode(f"{user}:{secret}".encode()).decode()
    for path in ("/v2/", "/token", "/v2/acme/app/tags/list", "/api/user", "/packages/acme"):
        answer = town.client(f"Basic {shown}").get(path)
        assert answer.status in {400, 401, 404, 429}, (path, answer.body)


@pytest.mark.parametrize(
    "target",
    [
        b"/v2/caf\xe9/tags/list",
        b"/packages/\xed\xa0\x80",
        b"/api/audit?actor=\xff\xfe",
        b"/v2/\xff",
    ],
)
def test_bytes_that_are_no_text_are_no_fault(town: Town, target: bytes) -> None:
    """Nor are bytes that should have been percent-encoded."""
    host, _, port = town.address.rpartition(":")
    shown = (town.admin().credential or "").encode()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(
            b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Authorization: " + shown + b"\r\n\r\n"
        )
        status = connection.makefile("rb").readline().split()[1]
    assert int(status) < 500
