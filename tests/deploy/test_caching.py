"""A real cache in front: what is private reaches nobody else, what is public is kept."""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.deploy.nginx import running_nginx, substituted
from tests.deploy.proxies import DEPLOY, UPSTREAM
from tests.registry.acts import image
from tests.registry.protocol import Answer, Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.deploy.nginx import Front

pytestmark = pytest.mark.needs("nginx")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    settings = {"store.durability": "none", "registry.auth": "true"}
    with Daemon(tmp_path / "data", settings=settings) as running:
        yield running


@pytest.fixture
def cache(daemon: Daemon, tmp_path: Path) -> Iterator[Front]:
    """nginx by the shipped file, told to keep whatever it may for an hour, 404 and 401 too."""
    example = tmp_path / "cached.conf"
    example.write_text(
        substituted(
            (DEPLOY / "nginx.conf").read_text(encoding="utf-8"),
            {
                "proxy_buffering off;": "proxy_buffering on; proxy_cache kept;"
                "proxy_cache_valid any 1h; add_header X-Cache $upstream_cache_status always;"
            },
        )
    )
    kept = f"proxy_cache_path {tmp_path}/kept keys_zone=kept:1m;"
    with running_nginx(example, tmp_path / "nginx", {UPSTREAM: daemon.registry}, http=kept) as it:
        yield it


class Owner(Registry):
    """The registry itself, past the cache, with a credential."""

    def __init__(self, address: str, authorization: str) -> None:
        super().__init__(address)
        self._shown = {"Authorization": authorization}

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return super().send(method, path, body, {**self._shown, **(headers or {})})


def fetch(cache: Front, path: str, authorization: str | None = None) -> tuple[int, str, bytes]:
    """Return the status, what the cache had to do with it, and the body."""
    connection = cache.connect()
    shown = {} if authorization is None else {"Authorization": authorization}
    connection.request("GET", path, headers=shown)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers["X-Cache"], content


def test_what_its_owner_fetched_is_not_for_others(daemon: Daemon, cache: Front) -> None:
    """RFC 9111, section 5.2.2.7: private; and Vary for caches that look at that alone."""
    secret = daemon.first_token
    basic = f"Basic {base64.b64encode(f'admin:{secret}'.encode()).decode()}"
    owner = Owner(daemon.registry, basic)
    data = secrets.token_bytes(10_000)
    layer, config = owner.push("admin/app", data), owner.push("admin/app", b"{}")
    answer = owner.put_manifest("admin/app", "v1", image(config, layer))
    digest = answer.headers["Docker-Content-Digest"]
    blob = f"/v2/admin/app/blobs/{layer}"
    for path in (
        blob,
        "/v2/admin/app/manifests/v1",
        f"/v2/admin/app/manifests/{digest}",
        "/v2/admin/app/tags/list",
        f"/v2/admin/app/referrers/{digest}",
        "/v2/_catalog",
        "/token",
        "/api/user",
        "/api/user/packages/container/app",
        "/api/user/packages/container/app/versions",
        "/packages/admin/app",
        "/packages/admin",
    ):
        assert fetch(cache, path, basic)[:2] == (200, "MISS"), path
        status, kept, content = fetch(cache, path, basic)
        assert (status, kept) == (200, "MISS"), path
        status, kept, stranger = fetch(cache, path)
        assert kept == "MISS", path
        assert stranger != content, path
        assert path == "/token" or status in {401, 404}, path
        # and the refusal is not kept for the owner
        assert fetch(cache, path, basic)[:2] == (200, "MISS"), path
    change = json.dumps({"visibility": "public"}).encode()
    said = {"Content-Type": "application/json"}
    answer = owner.send("PATCH", "/api/user/packages/container/app", change, said)
    assert answer.status == 200, answer.body
    assert fetch(cache, blob) == (200, "MISS", data)
    assert fetch(cache, blob) == (200, "HIT", data), "the cache does keep what it may"
