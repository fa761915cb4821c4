"""What the head of every answer says, on every route of both fronts."""

from __future__ import annotations

import json
import re
import secrets
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.registry.access.test_rest import api, path_of
from tests.registry.protocol import Registry, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.registry.access.conftest import Client, Town
    from tests.registry.protocol import Answer

POLICY = "sandbox; default-src 'none'"
_GROUP = re.compile(r"\(\?P<(\w+)>(?:[^()]|\([^()]*\))*\)")

PAGES = "page_"
"""How routes are called whose answers run the pages' own script, under a policy of their own."""


_TABLES = """
import asyncio, json
from blobd.app import open_daemon, open_fronts
from blobd.config import load

async def tables():
    config = load(file=None, environment={}, flags={"store.backend": "memory"})
    async with open_daemon(config) as daemon, open_fronts(daemon) as fronts:
        return {
            front: [[each.name, each.pattern.pattern, sorted(each.handlers)] for each in it.routes]
            for front, it in fronts.items()
        }

print(json.dumps(asyncio.run(tables())))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One route of a front's table."""

    name: str
    pattern: str
    methods: tuple[str, ...]

    def path(self, values: Mapping[str, str]) -> str:
        """Return a path that the pattern matches, with values at its named places."""
        path = _GROUP.sub(lambda match: self._value(match[1], values), self.pattern)
        path = re.sub(r"\(\?:[^)]*\)\?", "", path)  # the offset that an upload's Location adds
        path = re.sub(r"/\?$", "/", path).replace("\\", "")
        assert re.fullmatch(self.pattern, path) is not None, path
        return path

    def _value(self, place: str, values: Mapping[str, str]) -> str:
        if place == "tag" and self.name == "page_file":
            return "0"
        if place == "name" and self.name.startswith((PAGES, "api_")):
            return values["name"].partition("/")[2]
        return values[place]


@pytest.fixture(scope="module")
def tables() -> dict[str, list[Row]]:
    """The table of routes of each front, as the daemon wires them."""
    run = subprocess.run(
        [sys.executable, "-c", _TABLES], capture_output=True, text=True, check=True
    )
    return {
        front: [Row(name, pattern, tuple(methods)) for name, pattern, methods in rows]
        for front, rows in json.loads(run.stdout).items()
    }


@pytest.fixture
def values(town: Town, app: str) -> dict[str, str]:
    """Places of things that are there: a private package with one version."""
    ada = town.person("ada")
    ada.push_image(app)
    (version,) = api(town, "ada").get(f"{path_of(app)}/versions")
    upload = ada.start(app).location
    return {
        "name": app,
        "digest": digest_of(b"layer"),
        "reference": "latest",
        "upload_id": upload.partition("?")[0].rpartition("/")[2],
        "owner": "acme",
        "organisation": "acme",
        "user": "bob",
        "team": "core",
        "grantee": "bob",
        "source": "code",
        "kind": "automation",
        "tag": "latest",
        "token_id": "none",
        "version_id": str(version["id"]),
        "which": str(version["id"]),
        "file": "style.css",
    }


def check(row: Row, method: str, answer: Answer) -> None:
    """Hold one answer to what all have."""
    what = f"{method} {row.name} {answer.status}"
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"], what
    (policy,) = answer.headers.get_all("Content-Security-Policy") or [""]
    if row.name.startswith(PAGES) and answer.status in {200, 303, 400, 403, 404}:
        assert policy.startswith("default-src 'none'; "), what
        assert "unsafe" not in policy, what
    else:
        assert policy == POLICY, what
        assert not answer.headers.get_content_type().startswith("text/html"), what
    assert "Authorization" in (answer.headers["Vary"] or ""), what
    kept = answer.headers["Cache-Control"] or ""
    assert {"private", "no-store"} & set(kept.split(", ")), what


def test_every_route_answers_with_headers_that_keep_bytes_harmless_and_private(
    town: Town, tables: dict[str, list[Row]], values: dict[str, str]
) -> None:
    """Whoever asks, by whatever method, with whatever success."""
    assert len(tables["registry"]) > 40
    seen = set()
    for client in (town.person("ada"), town.client()):
        for row in tables["registry"]:
            for method in ("GET", "HEAD"):
                answer = client.send(method, row.path(values))
                check(row, method, answer)
                seen.add((row.name, answer.status))
    for name in ("blob", "manifest", "tags", "referrers", "upload", "page_package", "page_root"):
        assert seen & {(name, 200), (name, 204)}, f"{name} was never reached"
    for row in tables["registry"]:  # nobody is let in, so nothing changes
        for method in set(row.methods) - {"GET", "HEAD"}:
            check(row, method, town.client().send(method, row.path(values)))
    check(Row("unknown", "", ()), "GET", town.client().get("/nowhere"))


def test_the_blob_api_answers_so_too(town: Town, tables: dict[str, list[Row]]) -> None:
    client = Registry(town.daemon.blob_api_url.removeprefix("http://"))
    data = secrets.token_bytes(100)
    assert client.send("POST", f"/uploads?digest={digest_of(data)}", data).status == 201
    upload = client.send("POST", "/uploads").location.rpartition("/")[2]
    for row in tables["blob_api"]:
        for method in set(row.methods) - {"DELETE"}:
            path = row.path({"digest": digest_of(data), "upload_id": upload})
            check(row, method, client.send(method, path))


def test_a_blob_is_octets_and_shared_only_where_it_is_public(town: Town, app: str) -> None:
    ada = town.person("ada")
    script = ada.push(app, b"<script>alert(1)</script>")
    ada.push_image(app)
    for visibility in ("private", "public"):
        if visibility == "public":
            api(town, "ada").do("PATCH", path_of(app), 200, visibility="public")
        reader = ada if visibility == "private" else town.client()
        for answer in every_way(reader, f"/v2/{app}/blobs/{script}"):
            assert answer.headers["Cache-Control"].split(", ")[0] == visibility
            if answer.status in {200, 206}:
                assert answer.headers.get_content_type() == "application/octet-stream"
        for path in (f"/v2/{app}/manifests/latest", f"/v2/{app}/tags/list", "/v2/", "/api/user"):
            assert ada.get(path).headers["Cache-Control"] == "private, no-cache"


def every_way(client: Client, path: str) -> Iterator[Answer]:
    """Ask for a blob in full, in part, and by its validator."""
    yield client.get(path)
    yield client.head(path)
    yield client.get(path, Range="bytes=0-3")
    digest = path.rpartition("/")[2]
    yield client.get(path, If_None_Match=f'"{digest}"')
