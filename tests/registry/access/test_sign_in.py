"""Signing in to pages: a session for pages alone, which ends with its token."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from blobd.registry.catalog.tables import tokens
from tests.registry.access.person import FORM, Person
from tests.registry.access.test_rest import api

if TYPE_CHECKING:
    from tests.registry.access.conftest import Town


def made_token(town: Town, *scopes: str) -> tuple[str, str]:
    """Return id and secret of a new token of ada's."""
    made = api(town, "ada").do("POST", "/user/tokens", 201, scopes=list(scopes))
    return made["id"], made["token"]


def test_after_signing_in_one_is_where_one_was(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    where = f"/packages/{app}?sort=name"
    ada = Person(town)
    assert ada.open(where).status == 404
    assert f"/packages/-/sign-in?next={quote(where, safe='')}" in ada.page
    answer = ada.sign_in("ada", where)
    assert (answer.status, answer.location) == (303, where)
    assert ada.open(where).status == 200
    assert "signed in as" in ada.page
    assert ada.open(where).headers["Cache-Control"] == "private, no-store"
    # who is signed in already goes on at once
    answer = ada.open(f"/packages/-/sign-in?next={quote(where)}")
    assert (answer.status, answer.location) == (303, where)


def test_the_cookie_is_kept_from_scripts_and_other_sites(town: Town) -> None:
    ada = Person(town)
    answer = ada.sign_in("ada")
    line = next(
        line
        for line in answer.headers.get_all("Set-Cookie", [])
        if line.startswith("blobd_session=")
    )
    for wanted in ("HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"):
        assert wanted in line
    assert "Secure" not in line
    assert "blobd_pat" not in line
    behind_tls = Person(town, X_Forwarded_Proto="https")
    answer = behind_tls.sign_in("ada")
    lines = answer.headers.get_all("Set-Cookie", [])
    line = next(line for line in lines if line.startswith("__Host-blobd_session="))
    assert "Secure" in line
    assert behind_tls.open("/packages/").status == 200
    assert "signed in as" in behind_tls.page


def test_a_session_counts_for_pages_alone(town: Town, app: str) -> None:
    """Neither the cookie nor what is in it opens an API."""
    town.person("ada").push_image(app)
    ada = Person(town)
    ada.sign_in("ada")
    value = ada.cookies["blobd_session"]
    for path in (f"/v2/{app}/manifests/latest", "/v2/", "/api/user"):
        assert ada.open(path).status == 401
        assert town.client(f"Bearer {value}").get(path).status == 401
    assert "ada" not in ada.open(f"/token?scope=repository:{app}:pull").body.decode()


@pytest.mark.parametrize(
    "onward",
    [
        "//evil.example/", "https://evil.example/", "/\\evil.example", "/packages\\..", "/v2/",
        "/packages/a\r\nSet-Cookie: a=b", "javascript:alert(1)", "/packagesx", "/settings@evil",
    ],
)  # fmt: skip
def test_signing_in_leads_to_own_pages_alone(town: Town, onward: str) -> None:
    answer = Person(town).sign_in("ada", onward)
    assert (answer.status, answer.location) == (303, "/packages/")


def test_a_session_ends_with_its_token(town: Town) -> None:
    token_id, secret = made_token(town, "read:packages")
    ada = Person(town)
    ada.open("/packages/-/sign-in")
    assert ada.submit("/packages/-/sign-in", token=secret).status == 303
    ada.open("/packages/ada")
    assert "signed in as" in ada.page
    api(town, "ada").do("DELETE", f"/user/tokens/{token_id}")
    ada.open("/packages/")
    assert "signed in as" not in ada.page


def test_a_token_that_expires_takes_its_sessions_with_it(town: Town) -> None:
    token_id, secret = made_token(town, "read:packages")
    ada = Person(town)
    ada.open("/packages/-/sign-in")
    ada.submit("/packages/-/sign-in", token=secret)
    town.change(tokens.update().where(tokens.c.id == token_id).values(expires_at=1.0))
    ada.open("/packages/")
    assert "signed in as" not in ada.page


def test_a_changed_cookie_is_no_session(town: Town) -> None:
    ada = Person(town)
    ada.sign_in("ada")
    head, _, tail = ada.cookies["blobd_session"].rpartition(".")
    ada.cookies["blobd_session"] = f"{head}.{'A' * len(tail)}"
    assert ada.open("/packages/").status == 200
    assert "signed in as" not in ada.page
    # and a token for the registry is none either
    bearer = town.bearer("blobd_pat_ada").credential
    assert bearer is not None
    ada.cookies["blobd_session"] = bearer.removeprefix("Bearer ")
    ada.open("/packages/")
    assert "signed in as" not in ada.page


def test_signing_out(town: Town) -> None:
    ada = Person(town)
    ada.sign_in("ada")
    ada.open("/packages/")
    answer = ada.submit("/packages/-/sign-out")
    assert (answer.status, answer.location) == (303, "/packages/")
    assert "blobd_session" not in ada.cookies
    ada.open("/packages/")
    assert "Sign in" in ada.page


def test_a_copy_of_the_cookie_is_worth_nothing_after_signing_out(town: Town) -> None:
    """Its own, and one in another spelling: base64 leaves bits of a signature's end free."""
    ada, other = Person(town), Person(town)
    ada.sign_in("ada")
    other.sign_in("ada")
    copy = ada.cookies["blobd_session"]
    ada.open("/packages/")
    assert ada.submit("/packages/-/sign-out").status == 303
    spelt = [f"{copy[:-1]}{last}" for last in string.ascii_letters + string.digits]
    for value in (copy, *spelt):
        thief = Person(town)
        thief.cookies["blobd_session"] = value
        thief.open("/packages/")
        assert "signed in as" not in thief.page
    assert other.open("/packages/").status == 200
    assert "signed in as" in other.page, "another session of the same token goes on"
    # a page that is still open in another tab does no harm
    stale = Person(town)
    stale.cookies["blobd_session"], stale.page = copy, other.page
    answer = stale.submit("/packages/-/sign-out")
    assert (answer.status, answer.location) == (303, "/packages/")
    other.open("/packages/")
    assert "signed in as" in other.page


@pytest.mark.parametrize("token", ["", "blobd_pat_nobody", "blobd_pat_gone", "blobd_wft_w", "\0"])
def test_a_wrong_token_signs_nobody_in(town: Town, token: str) -> None:
    person = Person(town)
    person.open("/packages/-/sign-in?next=/packages/acme")
    answer = person.submit("/packages/-/sign-in", token=token)
    assert answer.status in {400, 403}
    assert "WWW-Authenticate" not in answer.headers
    assert 'role="alert"' in person.page
    assert "blobd_session" not in person.cookies
    # the form still knows where to go on to
    answer = person.submit("/packages/-/sign-in", token="blobd_pat_ada")
    assert (answer.status, answer.location) == (303, "/packages/acme")


def test_guessing_is_slowed_down(town: Town) -> None:
    person = Person(town)
    person.open("/packages/-/sign-in")
    statuses = {
        person.submit("/packages/-/sign-in", token=f"blobd_pat_{number}").status
        for number in range(25)
    }
    assert 429 in statuses
    assert person.submit("/packages/-/sign-in", token="blobd_pat_ada").status == 303


def test_forms_of_another_site_are_refused(town: Town) -> None:
    """Another site knows no session's secret; and its browser says that it is another site."""
    ada = Person(town)
    for fields in ({"token": "blobd_pat_ada"}, {"token": "blobd_pat_ada", "csrf": "0" * 64}):
        assert ada.send("/packages/-/sign-in", fields).status == 403
    ada.sign_in("ada")
    ada.open("/packages/")
    assert ada.send("/packages/-/sign-out", {"csrf": "0" * 64}).status == 403
    assert ada.send("/packages/-/sign-out", {}).status == 403
    ada.open("/packages/")
    eve = Person(town, Origin="https://evil.example")
    eve.cookies = dict(ada.cookies)
    eve.page = ada.page
    assert eve.submit("/packages/-/sign-out").status == 403
    eve = Person(town, Sec_Fetch_Site="cross-site")
    eve.cookies, eve.page = dict(ada.cookies), ada.page
    assert eve.submit("/packages/-/sign-out").status == 403
    ada.open("/packages/")
    assert "signed in as" in ada.page


def test_a_form_is_a_form(town: Town) -> None:
    person = Person(town)
    answer = person._client.send(
        "POST", "/packages/-/sign-in", b"{}", {"Content-Type": "text/plain"}
    )
    assert answer.status == 400
    answer = person._client.send("POST", "/packages/-/sign-in", b"a=\xff", {"Content-Type": FORM})
    assert answer.status == 400
