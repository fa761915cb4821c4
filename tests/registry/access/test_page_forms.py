"""What admins do by forms: with the rights, checks and audit of the calls that they stand for."""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.registry.access.person import Person
from tests.registry.access.test_rest import api, path_of

if TYPE_CHECKING:
    from tests.registry.access.conftest import Town


@pytest.fixture
def ada(town: Town) -> Person:
    person = Person(town)
    assert person.sign_in("ada").status == 303
    return person


def sent(person: Person, path: str, **fields: str) -> str:
    """Open a page, send its form, and return the page that follows."""
    assert person.open(path).status == 200, person.page
    answer = person.submit(path, **fields)
    assert answer.status == 303, person.page
    assert person.open(answer.location).status == 200
    return person.page


def test_publishing_is_confirmed_by_the_name(town: Town, app: str, ada: Person) -> None:
    town.person("ada").push_image(app)
    settings = f"/packages/{app}/-/settings"
    ada.open(settings)
    assert "cannot be undone" in ada.page
    for confirm in ("", "acme", f"{app}x"):
        ada.open(settings)
        answer = ada.submit(settings, do="visibility", visibility="public", confirm=confirm)
        assert answer.status == 400
        assert f"type {app} to confirm" in ada.page
        assert town.client().get(f"/packages/{app}").status == 404
    answer = ada.submit(settings, do="visibility", visibility="public", confirm=app)
    assert answer.status in {200, 303}
    assert town.client().get(f"/packages/{app}").status == 200
    seen: list[str] = []
    for _ in range(100):  # the audit is written behind the answer
        entries = api(town, "ada").get(f"/audit?package={quote(app, safe='')}")
        seen = [entry["detail"] for entry in entries if entry["action"] == "visibility"]
        if seen:
            break
        time.sleep(0.1)
    assert seen == ["public"]


def test_linking_inheriting_roles_and_workflows(town: Town, app: str, ada: Person) -> None:
    town.person("ada").push_image(app)
    settings = f"/packages/{app}/-/settings"
    assert "has been linked" in sent(ada, settings, do="link", repository="acme/code")
    assert "role has been given" in sent(ada, settings, do="role", grantee="bob", role="write")
    sent(ada, settings, do="grant", source="acme/code", kind="environment", role="read")
    access = api(town, "ada").get(f"{path_of(app)}/access")
    assert access["repository"] == "acme/code"
    assert ("bob", "write") in {(role["name"], role["role"]) for role in access["roles"]}
    assert ("environment", "read") in {(one["kind"], one["role"]) for one in access["workflows"]}
    sent(ada, settings, do="remove-role", grantee="bob")
    sent(ada, settings, do="remove-grant", source="acme/code", kind="environment")
    sent(ada, settings, do="mode", inherits="yes")
    access = api(town, "ada").get(f"{path_of(app)}/access")
    assert access["inherits"]
    assert "bob" not in {role["name"] for role in access["roles"]}
    sent(ada, settings, do="mode", inherits="no")
    sent(ada, settings, do="unlink")
    assert api(town, "ada").get(f"{path_of(app)}/access")["repository"] is None


def test_a_teams_role_is_taken_from_the_team(town: Town, app: str, ada: Person) -> None:
    """By the button beside it, whatever user has the name of the team."""
    town.person("ada").push_image(app)
    settings = f"/packages/{app}/-/settings"
    try:
        sent(ada, "/packages/acme/-/settings", do="team", name="bob")
        for grantee in ("bob", "acme/bob"):
            sent(ada, settings, do="role", grantee=grantee, role="read")
        sent(ada, settings, do="remove-role", grantee="acme/bob")
        access = api(town, "ada").get(f"{path_of(app)}/access")
        assert [(role["kind"], role["name"]) for role in access["roles"]] == [
            ("user", "ada"), ("user", "bob"),
        ]  # fmt: skip
    finally:
        sent(ada, "/packages/acme/-/settings", do="remove-team", team="bob")


def test_tags_that_stay_and_indexes_that_may_be_sparse(town: Town, app: str, ada: Person) -> None:
    town.person("ada").push_image(app)
    settings = f"/packages/{app}/-/settings"
    for what, field, asked in (
        ("immutable", "immutable_tags", "Let tags move"),
        ("sparse", "sparse_indexes", "Take whole indexes only"),
    ):
        assert asked not in ada.open(settings).body.decode()
        assert asked in sent(ada, settings, do=what, **{field: "yes"})
        assert api(town, "ada").get(path_of(app))[field] is True
        assert asked not in sent(ada, settings, do=what, **{field: "no"})
        assert api(town, "ada").get(path_of(app))[field] is False


def test_workflows_that_may_publish(town: Town, app: str, ada: Person) -> None:
    """The box that is not ticked is not sent."""
    town.person("ada").push_image(app)
    settings = f"/packages/{app}/-/settings"
    grant = {"do": "grant", "source": "acme/code", "kind": "automation", "role": "admin"}
    for ticked in ({"may_publish": "yes"}, {}):
        sent(ada, settings, **grant, **ticked)
        (granted,) = api(town, "ada").get(f"{path_of(app)}/access")["workflows"]
        assert granted["may_publish"] is bool(ticked)
        assert ("may publish to the world" in ada.page) is bool(ticked)


def test_deleting_and_restoring(town: Town, app: str, ada: Person) -> None:
    client = town.person("ada")
    client.push_image(app, "v1", "first")
    client.push_image(app, "v2", "second")
    versions = api(town, "ada").get(f"{path_of(app)}/versions")
    number = next(
        each["id"] for each in versions if each["metadata"]["container"]["tags"] == ["v1"]
    )
    settings = f"/packages/{app}/-/settings"
    ada.open(f"/packages/{app}/-/versions/{number}")
    assert ada.submit(settings, do="delete-version", version_id=str(number)).status == 303
    assert client.get(f"/v2/{app}/manifests/v1").status == 404
    assert "has been restored" in sent(ada, settings, do="restore-version", version_id=str(number))
    assert client.get(f"/v2/{app}/manifests/v1").status == 200

    ada.open(settings)
    assert ada.submit(settings, do="delete", confirm="").status == 400
    answer = ada.submit(settings, do="delete", confirm=app)
    assert (answer.status, answer.location) == (303, "/packages/acme/-/settings?done=deleted")
    assert client.get(f"/v2/{app}/manifests/v2").status == 404
    name = app.partition("/")[2]
    assert "has been restored" in sent(ada, "/packages/acme/-/settings", do="restore", name=name)
    assert client.get(f"/v2/{app}/manifests/v2").status == 200


def test_tokens_are_made_shown_once_and_revoked(town: Town, ada: Person) -> None:
    note = secrets.token_hex(4)
    answer = ada.open(
        f"/settings/tokens/new?scopes=write:packages,read:packages&description={note}"
    )
    assert answer.status == 200
    checked = re.findall(r'name="scopes" value="([^"]*)" checked', ada.page)
    assert checked == ["read:packages", "write:packages"]
    assert f'value="{note}"' in ada.page
    answer = ada.submit("/settings/tokens/new", scopes=checked, note=note, days="30")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "private, no-store"
    (secret,) = set(re.findall(r"blobd_pat_\w{30,}", ada.page))
    who = town.client(f"Bearer {secret}").get("/api/user").json()
    assert (who["login"], sorted(who["scopes"])) == ("ada", ["read:packages", "write:packages"])
    ada.open("/settings/tokens")
    assert note in ada.page
    assert secret not in ada.page
    token_id = next(
        token["id"] for token in api(town, "ada").get("/user/tokens") if token["note"] == note
    )
    assert ada.submit("/settings/tokens", token_id=token_id).status == 303
    assert town.client(f"Bearer {secret}").get("/api/user").status == 401


@pytest.mark.parametrize(
    ("scopes", "days"), [([], "30"), (["all"], "30"), (["read:packages"], "0"), ([""], "nan")]
)
def test_a_token_form_is_held_to_what_it_offers(ada: Person, scopes: list[str], days: str) -> None:
    ada.open("/settings/tokens/new")
    assert ada.submit("/settings/tokens/new", scopes=scopes, days=days).status == 400
    assert 'role="alert"' in ada.page
    assert "blobd_pat_" not in ada.page


def test_a_session_does_no_more_than_its_token_is_for(town: Town, app: str) -> None:
    """Signed in with a token to read, one changes nothing."""
    town.person("ada").push_image(app)
    made = api(town, "ada").do("POST", "/user/tokens", 201, scopes=["read:packages"])
    ada = Person(town)
    ada.open("/packages/-/sign-in")
    ada.submit("/packages/-/sign-in", token=made["token"])
    secret = re.search(r'name="csrf" value="(\w+)"', ada.open("/packages/").body.decode())
    assert secret is not None
    fields = {"csrf": secret[1], "do": "role", "grantee": "bob", "role": "admin"}
    assert ada.send(f"/packages/{app}/-/settings", fields).status == 403
    ada.open("/settings/tokens/new?scopes=write:packages")
    answer = ada.submit("/settings/tokens/new", scopes="write:packages", days="30")
    assert answer.status == 403
    access = api(town, "ada").get(f"{path_of(app)}/access")
    assert "bob" not in {role["name"] for role in access["roles"]}


def test_members_and_teams(town: Town, ada: Person) -> None:
    settings, team = "/packages/acme/-/settings", f"t{secrets.token_hex(4)}"
    sent(ada, settings, do="member", user="eve", role="member")
    sent(ada, settings, do="team", name=team)
    sent(ada, settings, do="team-member", team=team, user="eve")
    found = api(town, "ada").get(f"/orgs/acme/teams/{team}/members")
    assert [member["login"] for member in found] == ["eve"]
    sent(ada, settings, do="remove-team-member", team=team, user="eve")
    sent(ada, settings, do="remove-team", team=team)
    sent(ada, settings, do="remove-member", user="eve")
    assert "eve" not in {one["login"] for one in api(town, "ada").get("/orgs/acme/members")}
    ada.open(settings)
    assert ada.submit(settings, do="remove-member", user="ada").status == 409
    assert "last owner" in ada.page


def test_an_organisations_new_packages_inherit_or_not(town: Town, ada: Person) -> None:
    place = f"o{secrets.token_hex(4)}"
    api(town, "admin").do("POST", "/orgs", name=place, owner="ada")
    settings = f"/packages/{place}/-/settings"
    for said, word in ((False, "no"), (True, "yes")):
        sent(ada, settings, do="inherit", packages_inherit_access=word)
        assert api(town, "ada").get(f"/orgs/{place}")["packages_inherit_access"] is said
        assert ("do not inherit access" in ada.page) is not said


def test_forms_are_for_admins_and_say_nothing_to_others(town: Town, app: str, ada: Person) -> None:
    town.person("ada").push_image(app)
    settings = f"/packages/{app}/-/settings"
    nobody = Person(town)
    for path in (settings, "/packages/acme/-/settings", "/settings/tokens", "/settings/tokens/new"):
        answer = nobody.open(path)
        assert answer.status == 303
        assert answer.location.startswith("/packages/-/sign-in?next=")
    eve = Person(town)
    eve.sign_in("eve")
    hidden = eve.open(settings)
    missing = eve.open("/packages/acme/0/-/settings")
    assert (hidden.status, missing.status) == (404, 404)
    csrf = re.search(r'name="csrf" value="(\w+)"', eve.page)
    assert csrf is not None
    for what in ("role", "delete", "visibility"):
        fields = {
            "csrf": csrf[1], "do": what, "grantee": "eve", "role": "admin",
            "visibility": "public", "confirm": app,
        }  # fmt: skip
        assert eve.send(settings, fields).status == 404
    assert eve.open("/packages/acme/-/settings").status == 404
    assert town.person("ada").get(f"/v2/{app}/manifests/latest").status == 200
    api(town, "ada").do("PUT", f"{path_of(app)}/access/roles/eve", role="read")
    assert eve.open(f"/packages/{app}").status == 200
    assert settings not in eve.page
    assert eve.open(settings).status == 403


def test_every_form_needs_its_sessions_secret(town: Town, app: str, ada: Person) -> None:
    town.person("ada").push_image(app)
    for path, fields in (
        (f"/packages/{app}/-/settings", {"do": "delete", "confirm": app}),
        ("/packages/acme/-/settings", {"do": "remove-member", "user": "bob"}),
        ("/settings/tokens", {"token_id": "ada"}),
        ("/settings/tokens/new", {"scopes": "read:packages", "days": "30"}),
    ):
        for secret in ({}, {"csrf": ""}, {"csrf": "0" * 64}):
            assert ada.send(path, {**fields, **secret}).status == 403
        # whom a browser's own password signs in has no session, and no secret
        basic = town.person("ada").send(
            "POST", path, b"csrf=", {"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert basic.status == 403
    assert town.person("ada").get(f"/v2/{app}/manifests/latest").status == 200
