"""Administrators make users and organisations on pages, and shut users out."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.registry.access.person import Person
from tests.registry.access.test_rest import api

if TYPE_CHECKING:
    from tests.registry.access.conftest import Town

_USERS, _ORGANISATIONS = "/settings/users", "/settings/organisations"


@pytest.fixture
def admin(town: Town) -> Person:
    person = Person(town)
    assert town.daemon.first_token is not None
    person.open("/packages/-/sign-in")
    assert person.submit("/packages/-/sign-in", token=town.daemon.first_token).status == 303
    return person


@pytest.fixture
def name() -> str:
    return f"n{secrets.token_hex(5)}"


def sent(person: Person, path: str, **fields: str) -> str:
    """Open a page, send its form, and return the page that follows."""
    assert person.open(path).status == 200, person.page
    answer = person.submit(path.partition("?")[0], **fields)
    assert answer.status == 303, person.page
    assert person.open(answer.location).status == 200
    return person.page


def listed(town: Town, name: str) -> dict[str, object]:
    found: list[dict[str, object]] = api(town, "admin").get("/users")
    return next(user for user in found if user["login"] == name)


@pytest.mark.parametrize("ticked", [{}, {"administrator": "yes"}])
def test_making_a_user(town: Town, admin: Person, name: str, ticked: dict[str, str]) -> None:
    assert "has been made" in sent(admin, _USERS, do="add", name=name, **ticked)
    assert listed(town, name)["administrator"] is bool(ticked)
    admin.open(_USERS)
    answer = admin.submit(_USERS, do="add", name=name)
    assert answer.status == 409
    assert 'role="alert"' in admin.page


def test_shutting_a_user_out_and_letting_it_in_again(town: Town, admin: Person, name: str) -> None:
    sent(admin, _USERS, do="add", name=name)
    found = f"{_USERS}?q={name}"
    sent(admin, found, do="disable", user=name)
    assert listed(town, name)["disabled"] is True
    admin.open(found)
    assert "shut out" in admin.page
    sent(admin, found, do="enable", user=name)
    assert listed(town, name)["disabled"] is False


def test_nobody_is_offered_to_shut_oneself_out(admin: Person) -> None:
    """And the last administrator stays one whatever is sent."""
    admin.open(f"{_USERS}?q=admin")
    assert 'aria-label="Shut admin out"' not in admin.page


def test_making_an_organisation_with_its_owner(town: Town, admin: Person, name: str) -> None:
    assert "has been made" in sent(admin, _ORGANISATIONS, do="add", name=name, owner="ada")
    members = api(town, "ada").get(f"/orgs/{name}/members")
    assert [(member["login"], member["role"]) for member in members] == [("ada", "owner")]
    admin.open(f"{_ORGANISATIONS}?q={name}")
    assert f'href="/packages/{name}/-/settings"' in admin.page
    answer = admin.submit(_ORGANISATIONS, do="add", name=f"{name}2", owner="nobody")
    assert answer.status == 404
    assert 'role="alert"' in admin.page


def test_who_has_no_package_yet_has_a_page(town: Town, admin: Person, name: str) -> None:
    """For the administrator, and an organisation's members: it leads to the settings."""
    sent(admin, _USERS, do="add", name=f"{name}u")
    sent(admin, _ORGANISATIONS, do="add", name=name, owner="ada")
    ada, eve = Person(town), Person(town)
    ada.sign_in("ada")
    eve.sign_in("eve")
    for who, account in ((admin, f"{name}u"), (admin, name), (ada, name)):
        assert who.open(f"/packages/{account}").status == 200
        assert f'href="/packages/{account}/-/settings"' in who.page
        assert who.open(f"/packages/{account}/-/settings").status == 200
    for account in (name, f"{name}u"):
        assert eve.open(f"/packages/{account}").status == 404
        assert Person(town).open(f"/packages/{account}").status == 404


def test_long_lists_are_searched_and_paged(admin: Person, name: str) -> None:
    for number in range(31):
        sent(admin, _USERS, do="add", name=f"{name}{number}")
    admin.open(f"{_USERS}?q={name}")
    assert "31 users found" in admin.page
    assert "Page 1 of 2" in admin.page
    assert admin.page.count(f'href="/packages/{name}') == 30
    admin.open(f"{_USERS}?q={name}&page=2")
    assert admin.page.count(f'href="/packages/{name}') == 1
    admin.open(f"{_USERS}?q={name}x")
    assert "There is none with that in its name" in admin.page


@pytest.mark.parametrize("path", [_USERS, _ORGANISATIONS])
def test_they_are_for_administrators_alone(town: Town, admin: Person, path: str, name: str) -> None:
    nobody, ada = Person(town), Person(town)
    assert nobody.open(path).location.startswith("/packages/-/sign-in?next=%2Fsettings%2F")
    ada.sign_in("ada")
    ada.open("/packages/")
    assert _USERS not in ada.page
    assert ada.open(path).status == 404
    ada.open("/settings/tokens/new")
    fields = {"csrf": ada.secret, "do": "add", "name": name, "owner": "ada"}
    assert ada.send(path, fields).status == 404
    for secret in ({}, {"csrf": ada.secret}):
        assert admin.send(path, {"do": "add", "name": name, "owner": "ada", **secret}).status == 403
    assert api(town, "admin").call("GET", f"/users/{name}").status == 404
    admin.open("/packages/")
    assert _USERS in admin.page


def test_a_form_that_says_nothing_does_nothing(admin: Person) -> None:
    for path in (_USERS, _ORGANISATIONS):
        admin.open(path)
        assert admin.send(path, {"csrf": admin.secret, "do": "remove"}).status == 400
