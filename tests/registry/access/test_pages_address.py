"""Pages on an address of their own: no API is there, and no page anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from blobd.errors import ConfigInvalid
from blobd.http.origin import Origins
from tests.daemon import Daemon
from tests.registry.access.person import FORM, Forms
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = "https://pages.example"
REGISTRY = "https://registry.example"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    settings = {
        "store.durability": "none",
        "registry.auth": "true",
        "registry.public_url": REGISTRY,
        "pages.public_url": PAGES,
    }
    with Daemon(tmp_path / "data", settings=settings) as daemon:
        yield Registry(daemon.registry)


def test_pages_and_apis_are_apart(registry: Registry) -> None:
    """What runs at the pages' address is of another origin than every API."""
    for path in ("/packages/", "/packages/admin?page=2", "/packages/a/b%2Fc"):
        answer = registry.get(path, Host="registry.example")
        assert (answer.status, answer.location) == (308, f"{PAGES}{path}")
        assert registry.get(path, Host="PAGES.example").status in {200, 404}
    for path in ("/v2/", "/token", "/api/user", "/api/openapi.json", "/v2/a/b/manifests/v1"):
        assert registry.get(path, Host="pages.example").status == 404
        assert registry.get(path, Host="registry.example").status in {200, 401}
    for host in ("pages.example", "registry.example", "10.0.0.1:5000"):
        assert registry.get("/", Host=host).status == 200
    page = registry.get("/", Host="pages.example").body
    assert b"docker login registry.example" in page


def test_forms_are_sent_at_the_pages_address(registry: Registry) -> None:
    """Their Origin is that address, not the registry's; and so the cookie is for https alone."""
    at = {"Host": "pages.example", "Content-Type": FORM}
    form = registry.get("/packages/-/sign-in", Host="pages.example")
    cookie = form.headers["Set-Cookie"].partition(";")[0]
    assert cookie.startswith("__Host-blobd_sign_in=")
    csrf = Forms(form.body.decode()).found[0].hidden["csrf"]
    body = urlencode({"csrf": csrf, "token": "blobd_pat_none"}).encode()
    refusals = {}
    for origin in (PAGES, REGISTRY, "null"):
        headers = {**at, "Cookie": cookie, "Origin": origin}
        answer = registry.send("POST", "/packages/-/sign-in", body, headers)
        assert answer.status == 403
        refusals[origin] = answer.body
    assert b"is not a token of this registry" in refusals[PAGES]
    for origin in (REGISTRY, "null"):
        assert b"CrossSite" in refusals[origin] or b"Origin" in refusals[origin]


@pytest.mark.parametrize(
    ("registry_url", "pages_url"),
    [(REGISTRY, REGISTRY), (REGISTRY, "https://Registry.example/"), ("", PAGES), (REGISTRY, "x")],
)
def test_addresses_that_cannot_be_apart_are_refused(registry_url: str, pages_url: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"pages\.public_url"):
        Origins(public_url=registry_url, trusted_proxies=(), pages_url=pages_url)
