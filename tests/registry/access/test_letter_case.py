"""Names of accounts, teams and source repositories are the same in small and capital letters."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.registry.access.conftest import basic
from tests.registry.access.test_rest import Api, api

if TYPE_CHECKING:
    from tests.registry.access.conftest import Town


def test_every_call_takes_any_letter_case(town: Town, app: str) -> None:
    ada, client, name = api(town, "ada"), town.person("ada"), app.partition("/")[2]
    client.push_image(app)
    at = f"/orgs/ACME/packages/container/{name}"
    assert ada.get(at)["owner"]["login"] == "acme"
    assert ada.get("/users/Ada")["login"] == "ada"
    assert ada.get("/orgs/Acme")["login"] == "acme"
    listed = ada.get("/orgs/ACME/packages?package_type=container&per_page=100")
    assert name in [each["name"] for each in listed]
    ada.do("PUT", f"{at}/access/roles/BOB", role="read")
    roles = ada.get(f"{at}/access")["roles"]
    assert ("bob", "read") in [(each["name"], each["role"]) for each in roles]
    source = f"s{secrets.token_hex(4)}"
    ada.do("POST", "/repos/ACME", name=source.upper(), visibility="public")
    assert ada.get(f"/repos/Acme/{source.upper()}")["full_name"] == f"acme/{source}"
    ada.do("PUT", f"{at}/repository", repository=f"ACME/{source.upper()}")
    assert ada.get(at)["repository"]["full_name"] == f"acme/{source}"
    assert client.get(f"/packages/ACME/{name}").status == 200
    assert f"/packages/{app}" in client.get(f"/packages/Acme?q={name}").body.decode()
    for query, asked in (
        (f"package={quote(f'ACME/{name}', safe='')}", ada),
        ("actor=ADA", api(town, "admin")),
    ):
        deadline = time.monotonic() + 60
        while not asked.get(f"/audit?{query}"):  # it is written every few seconds
            assert time.monotonic() < deadline, query
            time.sleep(0.1)


def test_a_name_is_taken_in_every_letter_case(town: Town) -> None:
    admin = api(town, "admin")
    name = f"u{secrets.token_hex(4)}"
    admin.do("POST", "/users", name=name.upper())
    assert name in [each["login"] for each in admin.get("/users")]
    for again in (name, name.upper(), name.capitalize()):
        admin.do("POST", "/users", 409, name=again)
        admin.do("POST", "/orgs", 409, name=again, owner="ADA")
    admin.do("POST", "/orgs", name=f"Of-{name}", owner="ADA")
    owner = api(town, "ada")
    owner.do("POST", f"/orgs/OF-{name}/teams", name="Core")
    owner.do("POST", f"/orgs/of-{name}/teams", 409, name="CORE")
    owner.do("PUT", f"/orgs/of-{name}/members/{name.upper()}", role="member")
    owner.do("PUT", f"/orgs/of-{name}/teams/CORE/members/{name.upper()}")
    (member,) = owner.get(f"/orgs/of-{name}/teams/core/members")
    assert member["login"] == name


def test_a_login_takes_any_letter_case(town: Town) -> None:
    client = town.client(basic("blobd_pat_ada", user="ADA"))
    assert client.get("/v2/").status == 200
    assert Api(client).get("/user")["login"] == "ada"


@pytest.mark.parametrize("name", ["\u212aey", "\u0130x", "\uff21cme"])
def test_letters_that_only_look_alike_are_no_names(town: Town, name: str) -> None:
    """Some become ASCII in small letters, as the Kelvin sign does."""
    api(town, "admin").do("POST", "/users", 400, name=name)
    assert api(town, "ada").call("GET", f"/users/{quote(name)}").status == 404
