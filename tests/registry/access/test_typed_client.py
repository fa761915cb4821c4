"""A typed client made from the model's own schemas reads every answer of the calls it has."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest
from githubkit import GitHub, TokenAuthStrategy
from githubkit.exception import RequestFailed

from tests.registry.access.conftest import basic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.registry.access.conftest import Client, Town

VERSION: Final = "2026-03-10"
JSON = {"Content-Type": "application/json"}
NOT_THE_MODELS = {
    *(f"get{word}Access" for word in ("Org", "User", "Own")),
    "listOrganisations",
    "listSources",
    "listSourceRoles",
    "listTokens",
    "listAudit",
}
"""Calls that GitHub's API does not have; those of all others are read by its client."""


@pytest.fixture(params=["api", "api/v3"])
def github(town: Town, request: pytest.FixtureRequest) -> GitHub[TokenAuthStrategy]:
    """The client, as who owns acme. It does not try again, and keeps no answers."""
    return _client(town, "blobd_pat_ada", request.param)


def _client(town: Town, token: str, root: str) -> GitHub[TokenAuthStrategy]:
    base_url = f"http://{town.address}/{root}"
    return GitHub(TokenAuthStrategy(token), base_url=base_url, http_cache=False, auto_retry=False)


def _linked(owner: Client, app: str) -> str:
    """Push an image under a name with a slash, link it to a source repository; return its name."""
    owner.push_image(app)
    name = app.partition("/")[2]
    source = f"s{secrets.token_hex(4)}"
    for method, path, body in (
        ("POST", "/api/repos/acme", f'{{"name": "{source}", "visibility": "public"}}'),
        (
            "PUT",
            f"/api/orgs/acme/packages/container/{quote(name, safe='')}/repository",
            f'{{"repository": "acme/{source}"}}',
        ),
    ):
        sent = owner.send(method, path, body.encode(), JSON)
        assert sent.status == 204, sent.body
    return source


def test_it_reads_every_answer(town: Town, app: str, github: GitHub[TokenAuthStrategy]) -> None:
    """Each call that the document has and GitHub has too, by its operationId.

    Lists are of private packages: GitHub takes `internal` in their query, but its schema of a
    package does not have it.
    """
    ada = town.person("ada")
    source = _linked(ada, f"{app}/part")
    name = quote(f"{app.partition('/')[2]}/part", safe="")
    ada.push_image("ada/own")
    ada.send(
        "POST", "/api/orgs/acme/teams", b'{"name": "core"}', {"Content-Type": "application/json"}
    )
    ada.send("PUT", "/api/orgs/acme/teams/core/members/bob")
    rest = github.rest(VERSION)
    packages, users, orgs, teams = rest.packages, rest.users, rest.orgs, rest.teams
    (version, *_) = packages.get_all_package_versions_for_package_owned_by_org(
        "container", name, "acme"
    ).parsed_data
    (of_own, *_) = packages.get_all_package_versions_for_package_owned_by_user(
        "container", "own", "ada"
    ).parsed_data
    assert town.daemon.first_token is not None
    root = _client(town, town.daemon.first_token, "api")
    admin = root.rest(VERSION)
    conflicts = packages.list_docker_migration_conflicting_packages_for_authenticated_user
    calls: dict[str, Callable[[], Any]] = {
        "getOwnAccount": users.get_authenticated,
        "getAccount": lambda: users.get_by_username("bob"),
        "listUsers": admin.users.list,
        "getOrganisation": lambda: orgs.get("acme"),
        "listMembers": lambda: orgs.list_members("acme"),
        "listTeams": lambda: teams.list("acme"),
        "listTeamMembers": lambda: teams.list_members_in_org("acme", "core"),
        "getSource": lambda: rest.repos.get("acme", source),
        "listOrgPackages": lambda: packages.list_packages_for_organization(
            "acme", package_type="container", visibility="private", per_page=100
        ),
        "listUserPackages": lambda: packages.list_packages_for_user(
            "ada", package_type="container", visibility="private"
        ),
        "listOwnPackages": lambda: packages.list_packages_for_authenticated_user(
            package_type="container", visibility="private"
        ),
        "getOrgPackage": lambda: packages.get_package_for_organization("container", name, "acme"),
        "getUserPackage": lambda: packages.get_package_for_user("container", "own", "ada"),
        "getOwnPackage": lambda: packages.get_package_for_authenticated_user("container", "own"),
        "listOrgVersions": lambda: packages.get_all_package_versions_for_package_owned_by_org(
            "container", name, "acme"
        ),
        "listUserVersions": lambda: packages.get_all_package_versions_for_package_owned_by_user(
            "container", "own", "ada"
        ),
        "listOwnVersions": lambda: (
            packages.get_all_package_versions_for_package_owned_by_authenticated_user(
                "container", "own"
            )
        ),
        "getOrgVersion": lambda: packages.get_package_version_for_organization(
            "container", name, "acme", version.id
        ),
        "getUserVersion": lambda: packages.get_package_version_for_user(
            "container", "own", of_own.id, "ada"
        ),
        "getOwnVersion": lambda: packages.get_package_version_for_authenticated_user(
            "container", "own", of_own.id
        ),
        "listOrgConflicts": lambda: (
            packages.list_docker_migration_conflicting_packages_for_organization("acme")
        ),
        "listUserConflicts": lambda: packages.list_docker_migration_conflicting_packages_for_user(
            "ada"
        ),
        "listOwnConflicts": conflicts,
    }
    assert _reads(town) == {*calls, *NOT_THE_MODELS}
    read = {word: call().parsed_data for word, call in calls.items()}
    package = read["getOrgPackage"]
    assert package.repository.full_name == f"acme/{source}"
    assert package.repository.private is False
    assert package.owner.login == "acme"
    assert read["getOwnAccount"].login == "ada"
    assert read["getOrganisation"].id == package.owner.id
    assert read["getSource"].id == package.repository.id
    assert [member.login for member in read["listTeamMembers"]] == ["bob"]
    everything = github.rest.paginate(
        packages.list_packages_for_organization,
        org="acme",
        package_type="container",
        visibility="private",
        per_page=100,
    )
    assert package.name in [each.name for each in everything]


def _reads(town: Town) -> set[str]:
    """Return the operationIds of all calls that read."""
    document = town.client().get("/api/openapi.json").json()
    methods: Iterable[dict[str, dict[str, str]]] = document["paths"].values()
    return {path["get"]["operationId"] for path in methods if "get" in path}


def test_it_deletes_and_restores(town: Town, app: str, github: GitHub[TokenAuthStrategy]) -> None:
    ada, packages = town.person("ada"), github.rest(VERSION).packages
    ada.push_image(app, "v1", text="one")
    ada.push_image(app, "v2", text="two")
    name = app.partition("/")[2]
    listed = packages.get_all_package_versions_for_package_owned_by_org("container", name, "acme")
    version = listed.parsed_data[0].id
    packages.delete_package_version_for_org("container", name, "acme", version)
    packages.restore_package_version_for_org("container", name, "acme", version)
    packages.delete_package_for_org("container", name, "acme")
    packages.restore_package_for_org("container", name, "acme")
    again = packages.get_all_package_versions_for_package_owned_by_org("container", name, "acme")
    assert [each.id for each in again.parsed_data] == [each.id for each in listed.parsed_data]


def test_it_reads_errors(town: Town, github: GitHub[TokenAuthStrategy]) -> None:
    """Of calls, of paths that nobody answers, and of methods that a path does not have."""
    for method, path, status in (
        ("GET", "/orgs/acme/packages/container/none", 404),
        ("GET", "/orgs/acme/packages", 400),
        ("GET", "/repos/acme/none/actions/runs", 404),
        ("GET", "/", 404),
        ("DELETE", "/orgs/acme/members", 405),
    ):
        with pytest.raises(RequestFailed) as caught:
            github.request(method, path)
        told = caught.value.response
        assert told.status_code == status, path
        assert told.json()["message"]
        assert told.json()["documentation_url"] == f"http://{town.address}/api/openapi.json"
        assert told.json()["status"] == str(status)


def test_head_is_answered_where_get_is(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    path = f"/api/orgs/acme/packages/container/{app.partition('/')[2]}"
    for client, status in ((town.person("ada"), 200), (town.person("eve"), 404)):
        got, head = client.get(path), client.head(path)
        assert (got.status, head.status) == (status, status)
        assert head.body == b""
        assert head.headers["Content-Length"] == str(len(got.body))


def test_what_another_site_sends_is_refused_in_the_models_form(town: Town) -> None:
    headers = {"Origin": "https://elsewhere.example", **JSON}
    client = town.client(basic("blobd_pat_ada"))
    answer = client.send("POST", "/api/user/tokens", b"{}", headers)
    assert answer.status == 403
    assert answer.json()["message"]


def test_pages_longer_than_the_longest_are_that_long(town: Town) -> None:
    for number in range(102):
        town.person("eve").push_image(f"eve/p{number}", text="same")
    at = "/api/user/packages?package_type=container"
    for per_page, length in (("100", 100), ("101", 100), ("1000000", 100), ("99", 99)):
        assert len(town.person("eve").get(f"{at}&per_page={per_page}").json()) == length
