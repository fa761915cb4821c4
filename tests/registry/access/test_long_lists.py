"""Lists longer than anybody expects: every one goes to its end, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, select

from blobd.registry.catalog.tables import audit, repositories, tags, versions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.registry.access.conftest import Client, Town

_VERSIONS = 10_250
_TAGS = 10_400
_ENTRIES = 2_100


@pytest.fixture
def long(town: Town, app: str) -> str:
    """A package of many versions, one of them with many tags."""
    digest = town.admin().push_image(app)
    package_id = select(repositories.c.id).where(repositories.c.name == app).scalar_subquery()
    version = {
        "repository_id": package_id,
        "platforms": "",
        "size_bytes": 1,
        "updated_at": 1.0,
        "downloads": 0,
    }
    rows = [
        version | {"digest": f"sha256:{n:064x}", "created_at": float(n)} for n in range(_VERSIONS)
    ]
    tag = {"repository_id": package_id, "digest": digest, "updated_at": 1.0}
    town.change(
        *(insert(versions).values(rows[n : n + 1000]) for n in range(0, _VERSIONS, 1000)),
        *(
            insert(tags).values([tag | {"name": f"t{each:06}"} for each in range(n, n + 400)])
            for n in range(0, _TAGS, 400)
        ),
    )
    return app


def _pages(client: Client, path: str | None, town: Town) -> Iterator[Any]:
    """Yield the documents of a list, as `Link` leads from one to the next."""
    while path is not None:
        answer = client.get(path)
        assert answer.status == 200, answer.body
        yield answer.json()
        links = (answer.headers["Link"] or "").split(", ")
        following = [link for link in links if link.endswith('rel="next"')]
        path = None
        if following:
            url = following[0].partition(">")[0].removeprefix("<")
            path = url.removeprefix(f"http://{town.address}")


def test_the_oldest_version_is_on_the_last_page(town: Town, long: str) -> None:
    """Who cleans up wants the oldest; the pages name each version once."""
    owner, _, name = long.partition("/")
    versions_path = f"/api/orgs/{owner}/packages/container/{name}/versions"
    ada = town.person("ada")
    found = [
        each["name"] for page in _pages(ada, f"{versions_path}?per_page=100", town) for each in page
    ]
    assert len(found) == len(set(found)) == _VERSIONS + 1
    assert found[-1] == f"sha256:{0:064x}"
    assert found[1] == f"sha256:{_VERSIONS - 1:064x}"
    last = ada.get(f"{versions_path}?per_page=100&page={-(-len(found) // 100)}").json()
    assert last[-1]["name"] == found[-1]


@pytest.mark.parametrize("huge", ["101", "1000000", "9" * 20, "9" * 5000])
def test_numbers_of_any_size_are_clamped(town: Town, app: str, huge: str) -> None:
    town.admin().push_image(app)
    owner, _, name = app.partition("/")
    path = f"/api/orgs/{owner}/packages/container/{name}/versions"
    ada = town.person("ada")
    assert len(ada.get(f"{path}?per_page={huge}").json()) == 1
    beyond = ada.get(f"{path}?page={huge}")
    assert (beyond.status, beyond.json()) == (200, [])
    assert 'rel="first"' in beyond.headers["Link"]
    assert 'page=1>; rel="prev"' in beyond.headers["Link"]
    assert ada.get(f"/packages/{app}?page={huge}").status == 200


def test_tags_go_to_their_end(town: Town, long: str) -> None:
    """R57: without `n` too, where one answer is not enough."""
    found = [
        tag
        for page in _pages(town.person("ada"), f"/v2/{long}/tags/list", town)
        for tag in page["tags"]
    ]
    assert found == ["latest", *(f"t{n:06}" for n in range(_TAGS))]


def test_the_audit_goes_to_its_end_while_it_grows(town: Town, app: str) -> None:
    town.admin().push_image(app)
    entry = {"actor": "ada", "action": "push", "package": app}
    rows = [entry | {"at": float(n), "detail": str(n)} for n in range(_ENTRIES)]
    town.change(*(insert(audit).values(rows[n : n + 700]) for n in range(0, _ENTRIES, 700)))
    found: list[str] = []
    for page in _pages(
        town.admin(), f"/api/audit?package={app.replace('/', '%2F')}&actor=ada", town
    ):
        found += [each["detail"] for each in page]
        town.change(insert(audit).values(entry | {"at": 1e9, "detail": "new"}))
    assert found == [str(n) for n in reversed(range(_ENTRIES))]
    for before in ("x", "-1"):
        assert town.admin().get(f"/api/audit?before={before}").status == 400
    assert town.admin().get(f"/api/audit?before={'9' * 18}").status == 200


def test_the_pages_for_people_show_the_oldest_too(town: Town, long: str) -> None:
    last = -(-(_VERSIONS + 1) // 30)
    text = town.person("ada").get(f"/packages/{long}/-/versions?page={last}").body.decode()
    assert f"sha256:{0:064x}"[:19] in text
