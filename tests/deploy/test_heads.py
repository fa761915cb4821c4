"""Long heads through nginx by the shipped file: many tags in an answer, a long token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from blobd.registry.media_types import OCI_MANIFEST
from tests.daemon import Daemon
from tests.deploy.nginx import running_nginx
from tests.registry.access.conftest import basic
from tests.registry.acts import image
from tests.registry.protocol import Registry, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse

    from tests.deploy.nginx import Front

EXAMPLE = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NAME = "admin/app"

pytestmark = pytest.mark.needs("nginx")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    settings = {"registry.auth": "true", "store.durability": "none"}
    with Daemon(tmp_path / "data", settings=settings) as running:
        yield running


@pytest.fixture
def front(daemon: Daemon, tmp_path: Path) -> Iterator[Front]:
    places = {"127.0.0.1:5000": daemon.registry}
    with running_nginx(EXAMPLE, tmp_path / "nginx", places) as front:
        yield front


def _ask(
    front: Front, method: str, target: str, body: bytes, headers: dict[str, str]
) -> tuple[HTTPResponse, bytes]:
    """Send a request by Python's http.client, which takes 100 header lines."""
    connection = front.connect()
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def _login(daemon: Daemon) -> dict[str, str]:
    assert daemon.first_token is not None
    return {"Authorization": basic(daemon.first_token)}


def _manifest(daemon: Daemon, login: dict[str, str]) -> bytes:
    """Push what a manifest names, and return it."""
    registry = Registry(daemon.registry)
    digests = []
    for data in (b"{}", b"layer"):
        path = f"/v2/{NAME}/blobs/uploads/?digest={digest_of(data)}"
        assert registry.send("POST", path, data, login).status == 201
        digests.append(digest_of(data))
    return image(*digests)


@pytest.mark.parametrize(("count", "length"), [(40, 128), (100, 40), (100, 70)])
def test_many_tags_are_pushed_through_nginx(
    daemon: Daemon, front: Front, count: int, length: int
) -> None:
    """Their answer is no 502, and Python reads it; what it does not name, it says so."""
    login = _login(daemon)
    content = _manifest(daemon, login)
    tags = [f"{number:03}".ljust(length, "x") for number in range(count)]
    target = f"/v2/{NAME}/manifests/{digest_of(content)}?" + "&".join(f"tag={tag}" for tag in tags)
    answer, body = _ask(front, "PUT", target, content, {**login, "Content-Type": OCI_MANIFEST})
    assert answer.status == 201, body
    named = ", ".join(answer.headers.get_all("OCI-Tag", [])).split(", ")
    assert named == tags[: len(named)]
    assert len(named) == count or str(count) in answer.headers["Warning"]
    _, body = _ask(front, "GET", f"/v2/{NAME}/tags/list", b"", login)
    assert json.loads(body)["tags"] == tags


def test_the_longest_token_passes_nginx(daemon: Daemon, front: Front) -> None:
    """Whatever the token endpoint issues is taken in a header, behind a proxy too."""
    scopes = [
        f"repository:admin/{number:04}-".ljust(200, "n") + ":pull,push" for number in range(1000)
    ]
    assert daemon.first_token is not None
    form = urlencode(
        {"grant_type": "password", "password": daemon.first_token, "scope": " ".join(scopes)}
    )
    media_type = {"Content-Type": "application/x-www-form-urlencoded"}
    answer, body = _ask(front, "POST", "/token", form.encode(), media_type)
    assert answer.status == 200, body
    bearer = {"Authorization": f"Bearer {json.loads(body)['access_token']}"}
    assert len(bearer["Authorization"]) > 7000
    for scope in (scopes[0], scopes[-1]):
        name = scope.split(":")[1]
        answer, body = _ask(front, "POST", f"/v2/{name}/blobs/uploads/", b"", bearer)
        assert answer.status == 202, body
