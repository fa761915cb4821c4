"""The first token, the challenge, and `/token` in every way that clients ask it (item 3)."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import jwt
import pytest

from tests.daemon import Daemon
from tests.registry.access.conftest import Client, basic
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.access.conftest import Town
    from tests.registry.protocol import Answer

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def granted(answer: Answer) -> dict[str, set[str]]:
    """Return what a token was granted, by repository."""
    claims = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    return {entry["name"]: set(entry["actions"]) for entry in claims["access"]}


def post(town: Town, **fields: str) -> Answer:
    return _post(town.client(), **fields)


def _post(client: Registry, **fields: str) -> Answer:
    return client.send("POST", "/token", urlencode(fields).encode(), FORM)


def test_the_first_start_makes_an_administrator_and_says_its_token_once(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", settings={"registry.auth": "true"}) as daemon:
        first = daemon.first_token
        assert first is not None
        assert first.startswith("blobd_pat_")
        daemon.first_token = None
        daemon.restart()
        assert daemon.first_token is None
        registry = Registry(daemon.registry)
        assert registry.get("/v2/").status == 401
        assert registry.get("/v2/", Authorization=basic(first)).status == 200
    kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert kept
    assert not any(first.encode() in path.read_bytes() for path in kept)


def test_several_workers_make_one_administrator(tmp_path: Path) -> None:
    settings = {"registry.auth": "true", "server.workers": "3"}
    with Daemon(tmp_path / "data", settings=settings) as daemon:
        assert daemon.first_token is not None
        registry = Registry(daemon.registry)
        for _ in range(12):
            answer = registry.get("/v2/", Authorization=basic(daemon.first_token))
            assert answer.status == 200


def test_the_challenge_says_where_to_log_in_and_for_what(town: Town) -> None:
    nobody = town.client()
    challenge = f'Bearer realm="http://{town.address}/token",service="blobd"'
    assert nobody.get("/v2/").headers["WWW-Authenticate"] == challenge
    answer = nobody.get("/v2/a/b/tags/list")
    assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"])
    assert answer.headers["WWW-Authenticate"] == f'{challenge},scope="repository:a/b:pull"'
    answer = nobody.head(f"/v2/a/b/blobs/sha256:{'0' * 64}")
    assert answer.headers["WWW-Authenticate"] == f'{challenge},scope="repository:a/b:pull,push"'
    answer = nobody.start("a/b")
    assert answer.headers["WWW-Authenticate"] == f'{challenge},scope="repository:a/b:pull,push"'
    answer = town.client("Bearer a.b.c").get("/v2/a/b/tags/list")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')


def test_any_credential_that_counts_passes_the_first_question(town: Town) -> None:
    for client in (
        town.person("eve"),
        town.client("Bearer blobd_pat_eve"),
        town.bearer("blobd_pat_eve"),
        town.bearer(None),
    ):
        assert client.get("/v2/").status == 200
    for credential in ("Basic Og==", basic("blobd_pat_gone"), "Bearer x", "Basic !"):
        answer = town.client(credential).get("/v2/")
        assert (answer.status, answer.codes) == (401, ["UNAUTHORIZED"]), credential


def test_what_does_not_count_says_which_token_and_why(town: Town) -> None:
    for name, why in (("gone", "was revoked on 2"), ("over", "expired on 2")):
        for path in ("/v2/", "/token", "/v2/a/b/tags/list"):
            message = town.person(name).get(path).json()["errors"][0]["message"]
            assert f"token blobd_pat_{name}… ({name}) of bob {why}" in message


def test_a_get_takes_scopes_repeated_or_joined_and_grants_what_there_is(town: Town) -> None:
    town.admin().push_image("acme/granted")
    read, more = "repository:acme/granted:pull,push,delete", "repository:acme/new:push,pull"
    asked = [
        urlencode([("scope", read), ("scope", more)]),
        urlencode({"scope": f"{read} {more}", "service": "x", "account": "y", "client_id": "z"}),
    ]
    for query in asked:
        answer = town.person("ada").get(f"/token?{query}")
        assert granted(answer) == {
            "acme/granted": {"pull", "push", "delete"},
            "acme/new": {"pull", "push"},
        }
        assert granted(town.person("eve").get(f"/token?{query}")) == {}
        assert granted(town.client().get(f"/token?{query}")) == {}
    bad = urlencode([("scope", "nonsense"), ("scope", "repository:UP:pull"), ("scope", read)])
    assert granted(town.person("bobr").get(f"/token?{bad}")) == {}
    answer = town.person("ada").get(f"/token?{asked[0]}")
    document = answer.json()
    assert document["token"] == document["access_token"]
    assert document["expires_in"] >= 60
    assert document["issued_at"].endswith("+00:00")
    assert answer.headers["Cache-Control"] == "no-store"


def test_nobody_gets_a_token_for_nothing_and_a_wrong_password_gets_none(town: Town) -> None:
    for credential in (None, "Basic Og=="):
        answer = town.client(credential).get("/token?service=x")
        assert answer.status == 200
        assert "refresh_token" not in answer.json()
    for credential in (basic("wrong"), basic("blobd_pat_gone"), "Bearer a.b.c"):
        answer = town.client(credential).get("/token")
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_a_bearer_token_does_not_get_a_wider_one(town: Town) -> None:
    answer = town.bearer("blobd_pat_ada").get("/token?scope=repository:acme/x:push")
    assert answer.status == 401


def test_oauth_takes_a_password_and_then_a_refresh_token(town: Town) -> None:
    scope = "repository:acme/oauth:pull,push"
    answer = post(
        town,
        grant_type="password",
        username="ada",
        password="blobd_pat_ada",
        service="x",
        client_id="c",
        scope=scope,
        access_type="offline",
    )
    assert answer.status == 200
    assert granted(answer) == {"acme/oauth": {"pull", "push"}}
    assert answer.json()["scope"] == scope
    refresh = answer.json()["refresh_token"]
    again = post(
        town, grant_type="refresh_token", refresh_token=refresh, client_id="c", scope=scope
    )
    assert granted(again) == {"acme/oauth": {"pull", "push"}}
    assert again.json()["refresh_token"] == refresh
    # it is for this endpoint alone, and what it gets is no refresh token
    assert town.client(f"Bearer {refresh}").get("/v2/").status == 401
    access = again.json()["access_token"]
    assert post(town, grant_type="refresh_token", refresh_token=access).status == 401


def _many(town: Town, count: int, length: int) -> list[str]:
    """Return names that ada may push to: short ones that are there already, then long new ones."""
    there = [f"acme/many{number}" for number in range(3)]
    for name in there:
        town.admin().push_image(name)
    new = (f"acme/{number:05}-".ljust(length, "n") for number in range(count - len(there)))
    return [*there, *new]


def _works_as_asked(town: Town, answer: Answer, names: list[str]) -> None:
    """Check that a token may be used for each of its repositories, and for no other."""
    assert answer.status == 200, answer.body
    token = answer.json()["access_token"]
    assert len(f"Authorization: Bearer {token}\r\n") < 8192
    assert len(answer.json()["scope"].split()) == len(names)
    client = town.client(f"Bearer {token}")
    for name in names[:3]:
        assert client.head(f"/v2/{name}/manifests/latest").status == 200
    for name in names[3 :: max(1, len(names) // 40)] + names[-1:]:
        assert client.start(name).status == 202, name
    refused = client.start("acme/another")
    assert refused.status == 401
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize(("count", "length"), [(65, 60), (65, 180), (200, 40)])
def test_a_mirror_gets_one_token_for_all_its_repositories(
    town: Town, count: int, length: int
) -> None:
    """containerd repeats `scope` in the query; none of what it names is dropped."""
    names = _many(town, count, length)
    query = urlencode([("scope", f"repository:{name}:pull,push") for name in names], safe=":,/")
    _works_as_asked(town, town.person("ada").get(f"/token?{query}"), names)


@pytest.mark.parametrize("count", [65, 200, 1000])
@pytest.mark.parametrize("joined", [True, False])
def test_a_form_asks_for_as_many_long_names_as_a_token_covers(
    town: Town, count: int, joined: bool
) -> None:
    """OAuth's form has room for what a query has not; scopes joined (RFC 6749, 3.3) or repeated."""
    names = _many(town, count, 255)
    scopes = [f"repository:{name}:pull,push" for name in names]
    fields = [("grant_type", "password"), ("password", "blobd_pat_ada"), ("service", "x")]
    fields += [("scope", " ".join(scopes))] if joined else [("scope", one) for one in scopes]
    answer = town.client().send("POST", "/token", urlencode(fields).encode(), FORM)
    _works_as_asked(town, answer, names)


def test_more_scopes_than_a_token_covers_are_refused_in_words(town: Town) -> None:
    scopes = " ".join(f"repository:acme/{number}:pull" for number in range(1001))
    answer = post(town, grant_type="password", password="blobd_pat_ada", scope=scopes)
    assert (answer.status, answer.codes) == (400, ["UNSUPPORTED"]), answer.body
    assert "1001 scopes and one token covers at most 1000" in answer.body.decode()


def test_refresh_tokens_are_issued_only_where_the_operator_says_so(tmp_path: Path) -> None:
    with Daemon(tmp_path / "data", settings={"registry.auth": "true"}) as daemon:
        assert daemon.first_token is not None
        client = Client(daemon.registry, basic(daemon.first_token))
        answers = [
            client.get("/token?offline_token=true&client_id=docker&account=admin"),
            _post(
                client, grant_type="password", password=daemon.first_token, access_type="offline"
            ),
        ]
        for answer in answers:
            assert answer.status == 200, answer.body
            assert answer.json()["token"]
            assert "refresh_token" not in answer.json()


def test_a_login_with_docker_gets_a_refresh_token(town: Town) -> None:
    answer = town.person("ada").get("/token?offline_token=true&client_id=docker&account=ada")
    assert answer.json()["refresh_token"]


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"grant_type=authorization_code", FORM["Content-Type"], 400),
        (b"", FORM["Content-Type"], 400),
        (b"\xff\xfe", FORM["Content-Type"], 400),
        (b"a=b&" * 30_000, FORM["Content-Type"], 400),
        (b"{}", "application/json", 400),
        (b"grant_type=password&password=wrong", FORM["Content-Type"], 401),
        (b"grant_type=password", FORM["Content-Type"], 401),
        (b"grant_type=refresh_token&refresh_token=x", FORM["Content-Type"], 401),
    ],
)
def test_a_form_that_will_not_do(town: Town, body: bytes, media_type: str, status: int) -> None:
    answer = town.client().send("POST", "/token", body, {"Content-Type": media_type})
    assert answer.status == status
    assert answer.codes


def test_forged_tokens_are_refused(town: Town) -> None:
    (key, *_) = town.keys()
    claims = jwt.decode(town.signed().split()[1], options={"verify_signature": False})
    none = jwt.encode(claims, "", algorithm="none", headers={"kid": key.kid})
    keyed = jwt.encode(claims, "0" * 64, algorithm="HS256", headers={"kid": key.kid})
    head, _, signature = town.signed().split()[1].split(".")
    root = base64.urlsafe_b64encode(json.dumps(claims | {"pat": "root"}).encode()).decode()
    forged = [
        f"Bearer {none}",
        f"Bearer {keyed}",
        f"Bearer {head}.{root.rstrip('=')}.{signature}",
        town.signed(audience="elsewhere"),
        town.signed(issued_at=0.0, expires_at=300.0),
        town.signed(issued_at=time.time() + 3600, expires_at=time.time() + 7200),
        town.signed(keys=[type(key).make(now=key.created_at)]),
        town.signed(token_id="gone"),
        f"Bearer {'x' * 20_000}",
    ]
    assert town.client(town.signed()).get("/v2/").status == 200
    for credential in forged:
        answer = town.client(credential).get("/v2/_catalog")
        assert answer.status in {401, 400}, credential
        if answer.status == 401:
            assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_a_personal_token_counts_in_base64_and_with_a_newline(town: Town) -> None:
    """As GitHub's documentation and Homebrew send one, and as files and `echo` end."""
    town.admin().push_image("acme/plain")
    for text in ("blobd_pat_ada", "blobd_pat_ada\n"):
        encoded = base64.b64encode(text.encode()).decode()
        for path in ("/v2/", "/v2/acme/plain/manifests/latest", "/api/user"):
            assert town.client(f"Bearer {encoded}").get(path).status == 200, (text, path)
    for end in ("\n", "\r\n"):
        assert town.client(basic(f"blobd_pat_ada{end}")).get("/v2/").status == 200
        answer = post(town, grant_type="password", password=f"blobd_pat_ada{end}")
        assert answer.status == 200
    wrong = base64.b64encode(b"blobd_pat_wrong").decode()
    assert town.client(f"Bearer {wrong}").get("/v2/").status == 401
    nobody = town.client("Bearer QQ==")
    assert nobody.get("/v2/acme/plain/manifests/latest").status == 401
    assert nobody.get("/token").status == 200


def test_a_push_without_a_namespace_is_told_which_there_are(town: Town) -> None:
    """Whatever a bearer token was granted: nothing, as there is no such namespace."""
    scope = "repository:image:pull,push"
    for client in (town.person("bob"), town.bearer("blobd_pat_bob", scope)):
        answer = client.start("image")
        assert (answer.status, answer.codes) == (403, ["DENIED"])
        assert answer.json()["errors"][0]["message"] == (
            "image is in no namespace; push to bob/image, acme/image"
        )
    assert town.admin().start("image").status == 403
    workflow = town.client(basic("blobd_wft_w")).start("image")
    assert "push to acme/image" in workflow.body.decode()
    assert town.client().start("image").status == 401
    assert town.person("eve").get("/v2/image/tags/list").status == 404


def test_a_push_into_a_namespace_of_others_is_told_which_are_the_callers(
    town: Town, app: str
) -> None:
    """The same whether the package is there or not; of pulls nothing is said."""
    town.person("ada").push_image(app)
    for name, why in (
        (app, "acme is another account's namespace"),
        ("acme/none", "acme is another account's namespace"),
        ("bob/none", "bob is another account's namespace"),
        ("nowhere/none/more", "nowhere is no namespace here"),
    ):
        image = name.partition("/")[2]
        scope = f"repository:{name}:pull,push"
        for client in (town.person("eve"), town.bearer("blobd_pat_eve", scope)):
            answer = client.start(name)
            assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"]), name
            message = answer.json()["errors"][0]["message"]
            assert message == f"{why}; push to eve/{image}"
            assert "namespace" not in client.get(f"/v2/{name}/tags/list").body.decode()
    told = town.person("bob").start("eve/image").body.decode()
    assert "push to bob/image or acme/image" in told
