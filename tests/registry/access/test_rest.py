"""The model's calls and the others, over a real socket."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.registry.acts import image, index
from tests.registry.protocol import Answer, next_page

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.registry.access.conftest import Client, Town


JSON = {"Content-Type": "application/json"}


class Api:
    """Calls, as somebody."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def call(self, method: str, path: str, **body: Any) -> Answer:
        content = json.dumps(body).encode() if body else None
        headers = JSON if body else {}
        return self._client.send(method, f"/api{path}", content, headers)

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    def do(self, method: str, path: str, status: int = 204, **body: Any) -> Any:
        answer = self.call(method, path, **body)
        assert answer.status == status, (answer.status, answer.body)
        return answer.json() if answer.body else None


def api(town: Town, name: str) -> Api:
    return Api(town.admin() if name == "admin" else town.person(name))


def path_of(app: str) -> str:
    owner, _, name = app.partition("/")
    return f"/orgs/{owner}/packages/container/{quote(name, safe='')}"


def test_a_package_has_the_models_fields_and_more(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    package = api(town, "ada").get(path_of(app))
    assert package["name"] == app.partition("/")[2]
    assert package["package_type"] == "container"
    assert package["visibility"] == "private"
    assert package["owner"]["login"] == "acme"
    assert package["version_count"] == 1
    assert package["url"] == f"http://{town.address}/api{path_of(app)}"
    (version,) = api(town, "ada").get(f"{path_of(app)}/versions")
    assert version["name"] == digest
    assert version["metadata"] == {"package_type": "container", "container": {"tags": ["latest"]}}
    assert version["size_bytes"] > 0
    assert version["platforms"] == ["linux/amd64"]
    assert api(town, "ada").get(f"{path_of(app)}/versions/{version['id']}") == version


def test_names_with_slashes_are_sent_encoded(town: Town, app: str) -> None:
    deep = f"{app}/versions/1"
    town.person("ada").push_image(deep)
    ada = api(town, "ada")
    assert ada.get(path_of(deep))["name"] == deep.partition("/")[2]
    for name in ("..%2F..", "%2e%2e", "a%00b", "A", "%2F", "a%2F%2Fb", "x" * 300, "'%20OR%201=1"):
        assert ada.call("GET", f"/orgs/acme/packages/container/{name}").status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/orgs/a%00b/members"),
        ("GET", "/orgs/a%00b/packages?package_type=container"),
        ("GET", "/users/a%00b/packages?package_type=container"),
        ("PUT", "/orgs/acme/teams/core/members/a%00b"),
        ("POST", "/users/a%00b/disable"),
        ("GET", "/repos/acme/a%00b/roles"),
        ("DELETE", "/repos/acme/code/roles/a%00b"),
        ("DELETE", "/user/tokens/a%00b"),
    ],
)
def test_what_no_database_takes_as_a_text_is_not_there(town: Town, method: str, path: str) -> None:
    assert api(town, "admin").call(method, path).status == 404


def test_who_may_not_read_is_told_what_is_told_of_nothing(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    (version,) = api(town, "ada").get(f"{path_of(app)}/versions")
    nothing = f"acme/{'0' * 12}"
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "", {}),
        ("DELETE", "", {}),
        ("PATCH", "", {"visibility": "public"}),
        ("GET", "/versions", {}),
        ("GET", f"/versions/{version['id']}", {}),
        ("DELETE", f"/versions/{version['id']}", {}),
        ("POST", f"/versions/{version['id']}/restore", {}),
        ("POST", "/restore", {}),
        ("GET", "/access", {}),
        ("PUT", "/access/mode", {"inherits": True}),
        ("PUT", "/access/roles/eve", {"role": "admin"}),
        ("PUT", "/repository", {"repository": "acme/code"}),
        ("DELETE", "/tags/latest", {}),
    ]
    for method, rest, body in calls:
        told = []
        for name in (app, nothing):
            answer = api(town, "eve").call(method, f"{path_of(name)}{rest}", **body)
            assert answer.status == 404
            told.append(answer.body.replace(name.encode(), b"NAME"))
        assert told[0] == told[1], (method, rest)
        assert town.client().send(method, f"/api{path_of(app)}{rest}").status == 401
    assert app.partition("/")[2] not in [
        each["name"]
        for each in api(town, "eve").get("/orgs/acme/packages?package_type=container&per_page=100")
    ]
    assert api(town, "ada").get(path_of(app))["visibility"] == "private"


def test_a_deleted_package_is_restored(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    ada = api(town, "ada")
    ada.do("DELETE", path_of(app))
    assert ada.call("GET", path_of(app)).status == 404
    assert town.person("ada").get(f"/v2/{app}/manifests/latest").status == 404
    gone = ada.get("/orgs/acme/packages?package_type=container&state=deleted&per_page=100")
    assert app.partition("/")[2] in [each["name"] for each in gone]
    assert api(town, "bob").call("POST", f"{path_of(app)}/restore").status == 404
    ada.do("POST", f"{path_of(app)}/restore")
    answer = town.person("ada").get(f"/v2/{app}/manifests/latest")
    assert answer.headers["Docker-Content-Digest"] == digest
    assert ada.call("POST", f"{path_of(app)}/restore").status == 404


def test_a_name_in_use_again_is_a_conflict(town: Town, app: str) -> None:
    town.person("ada").push_image(app, text="one")
    ada = api(town, "ada")
    ada.do("DELETE", path_of(app))
    town.person("ada").push_image(app, text="two")
    answer = ada.call("POST", f"{path_of(app)}/restore")
    assert answer.status == 409
    assert "delete that package first" in answer.json()["message"]


def test_a_version_is_deleted_and_restored_with_its_tags(town: Town, app: str) -> None:
    other = town.person("ada").push_image(app, "other", text="other")
    digest = town.person("ada").push_image(app)
    ada = api(town, "ada")
    (version, _) = ada.get(f"{path_of(app)}/versions")
    at = f"{path_of(app)}/versions/{version['id']}"
    ada.do("DELETE", at)
    assert ada.call("GET", at).status == 404
    assert [left["name"] for left in ada.get(f"{path_of(app)}/versions")] == [other]
    (gone,) = ada.get(f"{path_of(app)}/versions?state=deleted")
    assert gone["deleted_at"]
    ada.do("POST", f"{at}/restore")
    answer = town.person("ada").get(f"/v2/{app}/manifests/latest")
    assert answer.headers["Docker-Content-Digest"] == digest
    # the registry's own DELETE goes the same way
    assert town.person("ada").delete(f"/v2/{app}/manifests/{digest}").status == 202
    assert len(ada.get(f"{path_of(app)}/versions?state=deleted")) == 1


def test_published_stays_published(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    ada = api(town, "ada")
    assert town.client().get(f"/v2/{app}/manifests/latest").status == 401
    for visibility in ("public", "private"):  # nobody has pulled it meanwhile
        assert ada.do("PATCH", path_of(app), 200, visibility=visibility)["visibility"] == visibility
    answer = ada.call("PATCH", path_of(app), visibility="public")
    assert "cannot be undone once it has been pulled" in answer.headers["Warning"]
    assert town.client().get(f"/v2/{app}/manifests/latest").status == 200
    answer = ada.call("PATCH", path_of(app), visibility="private")
    assert answer.status == 409
    assert "registry.allow_unpublish" in answer.json()["message"]


def test_roles_are_given_and_taken(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    ada = api(town, "ada")
    ada.do("PUT", f"{path_of(app)}/access/roles/eve", role="read")
    assert town.person("eve").get(f"/v2/{app}/manifests/latest").status == 200
    answer = api(town, "eve").call("DELETE", path_of(app))
    assert answer.status == 403
    assert "admin" in answer.json()["message"]
    given = {"kind": "user", "name": "eve", "role": "read", "inherited": False}
    assert given in ada.get(f"{path_of(app)}/access")["roles"]
    ada.do("DELETE", f"{path_of(app)}/access/roles/eve")
    assert api(town, "eve").call("GET", path_of(app)).status == 404
    ada.do("PUT", f"{path_of(app)}/access/roles/nobody", 404, role="read")
    ada.do("PUT", f"{path_of(app)}/access/roles/eve", 400, role="owner")


def test_modes_links_and_grants(town: Town, app: str) -> None:
    ada = api(town, "ada")
    town.person("ada").push_image(app)
    source = f"s{secrets.token_hex(4)}"
    ada.do("POST", "/repos/acme", name=source, visibility="internal")
    ada.do("PUT", f"{path_of(app)}/repository", repository=f"acme/{source}")
    shown = ada.do("PUT", f"{path_of(app)}/access/mode", 200, inherits=True, dry_run=True)
    assert shown["inherits"] is False
    assert shown["overwritten"]["roles"] == []  # its maker's stays
    ada.do("PUT", f"{path_of(app)}/access/mode", 200, inherits=True)
    package = ada.get(path_of(app))
    assert (package["visibility"], package["inherits"]) == ("private", True)
    assert package["repository"]["full_name"] == f"acme/{source}"
    ada.do("PUT", f"{path_of(app)}/access/mode", 200, inherits=False)
    workflow = f"{path_of(app)}/access/workflows/{quote(f'acme/{source}', safe='')}"
    ada.do("PUT", f"{workflow}/automation", role="write")
    made = ada.do("POST", f"/repos/acme/{source}/tokens", 201, kind="automation")
    assert made["token"].startswith("blobd_wft_")
    town.client(f"Bearer {made['token']}").push_image(app, "by-workflow")
    environment = ada.do("POST", f"/repos/acme/{source}/tokens", 201, kind="environment")
    assert town.client(f"Bearer {environment['token']}").start(app).status == 403
    ada.do("DELETE", f"{workflow}/automation")
    assert (
        api(town, "eve").call("POST", f"/repos/acme/{source}/tokens", kind="automation").status
        == 404
    )


def test_tags_are_deleted_and_made_immutable(town: Town, app: str) -> None:
    ada = api(town, "ada")
    town.person("ada").push_image(app, "v1", text="one")
    town.person("ada").push_image(app, "v2", text="one")
    ada.do("DELETE", f"{path_of(app)}/tags/v2")
    assert town.person("ada").get(f"/v2/{app}/tags/list").json()["tags"] == ["v1"]
    ada.do("PATCH", path_of(app), 200, immutable_tags=True)
    ada.do("DELETE", f"{path_of(app)}/tags/v1", 409)
    with pytest.raises(AssertionError, match="immutable"):
        town.person("ada").push_image(app, "v1", text="two")


def test_a_package_takes_sparse_indexes_where_an_admin_says_so(town: Town, app: str) -> None:
    """What it lists and lacks is told to who pulls it; the audit has who said so."""
    ada, client = api(town, "ada"), town.person("ada")
    absent = "sha256:" + "ab" * 32
    client.push_image(app, "v1")
    assert client.put_manifest(app, "all", index(absent)).codes == ["MANIFEST_BLOB_UNKNOWN"]
    api(town, "bob").do("PATCH", path_of(app), 404, sparse_indexes=True)
    assert ada.do("PATCH", path_of(app), 200, sparse_indexes=True)["sparse_indexes"] is True
    answer = client.put_manifest(app, "all", index(absent))
    assert answer.status == 201
    assert absent in answer.headers["Warning"]
    for method in ("GET", "HEAD"):
        assert client.send(method, f"/v2/{app}/manifests/{absent}").status == 404
    answer = client.get(f"/v2/{app}/manifests/{absent}")
    assert answer.codes == ["MANIFEST_UNKNOWN"]
    assert "was pushed without it" in answer.json()["errors"][0]["message"]
    assert ada.do("PATCH", path_of(app), 200, sparse_indexes=False)["sparse_indexes"] is False
    assert client.put_manifest(app, "again", index(absent)).status == 400


def test_lists_go_page_by_page(town: Town, app: str) -> None:
    ada = api(town, "ada")
    client = town.person("ada")
    for number in range(5):
        client.push_image(app, f"v{number}", text=f"{number}")
    seen = []
    path: str | None = f"/api{path_of(app)}/versions?per_page=2"
    while path is not None:
        answer = client.get(path)
        assert answer.status == 200
        seen += [tag for each in answer.json() for tag in each["metadata"]["container"]["tags"]]
        link = answer.headers["Link"] or ""
        found = [part for part in link.split(", ") if 'rel="next"' in part]
        path = found[0].partition(">")[0].removeprefix(f"<http://{town.address}") if found else None
    assert seen == ["v4", "v3", "v2", "v1", "v0"]
    for query in ("per_page=0", "page=0", "page=x", "page=-1"):
        assert ada.call("GET", f"{path_of(app)}/versions?{query}").status == 400
    assert ada.call("GET", "/orgs/acme/packages").status == 400
    assert ada.call("GET", "/orgs/acme/packages?package_type=npm").status == 400


def test_the_callers_own_packages_and_other_peoples(town: Town) -> None:
    name = f"p{secrets.token_hex(4)}"
    town.person("eve").push_image(f"eve/{name}")
    assert api(town, "eve").get(f"/user/packages/container/{name}")["name"] == name
    assert api(town, "eve").get(f"/users/eve/packages/container/{name}")["name"] == name
    assert api(town, "eve").call("GET", f"/orgs/eve/packages/container/{name}").status == 404
    assert api(town, "ada").call("GET", f"/users/eve/packages/container/{name}").status == 404
    assert api(town, "ada").call("GET", "/users/eve/packages?package_type=container").json() == []
    assert api(town, "ada").call("GET", "/orgs/none/packages?package_type=container").status == 404
    assert api(town, "eve").get("/user/docker/conflicts") == []


def test_accounts_are_the_administrators(town: Town) -> None:
    admin, eve = api(town, "admin"), api(town, "eve")
    user, place = f"u{secrets.token_hex(4)}", f"o{secrets.token_hex(4)}"
    for who, status in ((eve, 403), (admin, 204)):
        who.do("POST", "/users", status, name=user)
        who.do("POST", "/orgs", status, name=place, owner="eve")
    admin.do("POST", "/users", 409, name=user)
    admin.do("POST", "/users", 400, name="No Name")
    eve.do("PUT", f"/orgs/{place}/members/{user}", role="member")
    api(town, "bob").do("PUT", f"/orgs/{place}/members/bob", 403, role="owner")
    api(town, "bob").do("GET", f"/orgs/{place}/members", 403)
    eve.do("DELETE", f"/orgs/{place}/members/eve", 409)
    eve.do("POST", f"/orgs/{place}/teams", name="core")
    eve.do("PUT", f"/orgs/{place}/teams/core/members/{user}")
    (in_team,) = eve.get(f"/orgs/{place}/teams/core/members")
    assert (in_team["name"], in_team["login"]) == (user, user)
    town.person("eve").push_image(f"{place}/app")
    role = f"/orgs/{place}/packages/container/app/access/roles/{place}%2Fcore"
    eve.do("PUT", role, role="write")
    admin.do("POST", f"/users/{user}/disable")
    admin.do("POST", f"/users/{user}/enable")
    assert user in [each["login"] for each in admin.get("/users")]
    eve.do("GET", "/users", 403)


def test_tokens_are_made_for_no_more_than_the_one_that_asks(town: Town) -> None:
    bob = api(town, "bobr")
    made = bob.do("POST", "/user/tokens", 201, scopes=["read:packages"], note="mine")
    assert town.client(f"Bearer {made['token']}").get("/v2/").status == 200
    bob.do("POST", "/user/tokens", 403, scopes=["write:packages"])
    assert made["id"] in [each["id"] for each in bob.get("/user/tokens")]
    api(town, "eve").do("DELETE", f"/user/tokens/{made['id']}", 404)
    bob.do("DELETE", f"/user/tokens/{made['id']}")
    assert town.client(f"Bearer {made['token']}").get("/v2/").status == 401
    workflow = Api(town.client("Bearer blobd_wft_w"))
    workflow.do("POST", "/user/tokens", 403, scopes=["read:packages"])
    assert api(town, "bobr").get("/user")["login"] == "bob"


def test_a_token_for_reading_changes_nothing_whatever_its_owner_may(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    made = api(town, "ada").do("POST", "/user/tokens", 201, scopes=["read:packages"])
    narrow = Api(town.client(f"Bearer {made['token']}"))
    assert narrow.get(path_of(app))
    for method, path, body in (
        ("PUT", "/orgs/acme/members/eve", {"role": "owner"}),
        ("POST", "/orgs/acme/teams", {"name": "narrow"}),
        ("POST", "/repos/acme", {"name": "narrow", "visibility": "public"}),
        ("POST", "/repos/acme/code/tokens", {"kind": "automation"}),
        ("PATCH", path_of(app), {"visibility": "public"}),
        ("DELETE", path_of(app), {}),
        ("POST", f"{path_of(app)}/restore", {}),
    ):
        answer = narrow.call(method, path, **body)
        assert answer.status == 403, (method, path)
        assert ":packages" in answer.json()["message"]


def test_a_registrys_bearer_token_is_not_for_the_api(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    bearer = town.bearer("blobd_pat_ada", f"repository:{app}:pull")
    assert bearer.get(f"/api{path_of(app)}").status == 401


def test_the_audit_says_who_did_what(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    town.person("ada").get(f"/v2/{app}/manifests/latest")
    client = town.person("ada")
    ada = Api(client)
    ada.do("PUT", f"{path_of(app)}/access/roles/eve", role="read")
    ada.do("DELETE", path_of(app))
    ada.do("POST", f"{path_of(app)}/restore")
    entries: list[Any] = []
    wanted = ["restore", "delete", "grant", "pull", "push"]
    for _ in range(100):
        entries = ada.get(f"/audit?package={quote(app, safe='')}")
        if len(entries) >= len(wanted):
            break
        time.sleep(0.1)
    assert [entry["action"] for entry in entries] == wanted
    assert entries[-1]["digest"] == digest
    assert {entry["actor"] for entry in entries} == {"ada"}
    assert entries[0]["address"] == client.comes_from
    api(town, "eve").do("GET", f"/audit?package={quote(app, safe='')}", 403)
    api(town, "eve").do("GET", "/audit", 403)
    assert api(town, "admin").get("/audit?actor=ada")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"role": 1}', b'{"role": "read", "more": 1}', b'{"role": "read\\u0000"}'],
)
def test_a_body_that_will_not_do_is_refused(town: Town, app: str, body: bytes) -> None:
    client = town.person("ada")
    client.push_image(app)
    answer = client.send("PUT", f"/api{path_of(app)}/access/roles/eve", body, JSON)
    assert answer.status == 400
    assert answer.json()["message"]


def test_the_document_is_true(town: Town, app: str, tmp_path: Path) -> None:
    """Whatever is generated from it is answered as it says."""
    town.person("ada").push_image(app)
    answer = town.client().get("/api/openapi.json")
    document = tmp_path / "openapi.json"
    document.write_bytes(answer.body)
    assert town.daemon.first_token is not None
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
        *("run", str(document), "--url", f"http://{town.address}/api"),
        *("--header", "Authorization: Bearer blobd_pat_ada"),
        *("--generation-deterministic", "--max-examples", "10", "--warnings", "off", "--no-color"),
        *("--phases", "examples,coverage,fuzzing"),
        *("--exclude-checks", "ignored_auth"),  # guesses, which are slowed down
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
    assert "No issues found" in run.stdout


def test_pages_of_tags_do_not_name_the_trash(town: Town, app: str) -> None:
    client = town.person("ada")
    digest = client.push_image(app)
    client.delete(f"/v2/{app}/manifests/{digest}")
    answer = town.admin().get("/v2/_catalog?n=1000")
    assert not [name for name in answer.json()["repositories"] if name.startswith("@")]
    assert next_page(answer) is None
    for name in ("@deleted/1", "@trash/1"):
        assert town.admin().get(f"/v2/{name}/tags/list").status == 400


def test_what_an_image_says_wrongly_comes_with_a_warning(town: Town, app: str) -> None:
    client = town.person("ada")
    said = {"Labels": {"org.opencontainers.image.description": "x" * 600}}
    document = {"os": "linux", "architecture": "amd64", "config": said}
    config = client.push(app, json.dumps(document).encode())
    answer = client.put_manifest(app, "v1", image(config, client.push(app, b"layer")))
    assert answer.status == 201
    assert answer.headers["Warning"].startswith(
        '299 - "org.opencontainers.image.description has 600'
    )


def until(condition: Callable[[], bool]) -> None:
    """Wait for what comes about a few seconds after an answer."""
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def test_downloads_are_counted_and_heads_are_not(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    ada = api(town, "ada")
    ada.do("PATCH", path_of(app), 200, visibility="public")
    for client in (town.client(), town.person("eve")):
        assert client.head(f"/v2/{app}/manifests/latest").status == 200
        assert client.get(f"/v2/{app}/manifests/{digest}").status == 200
    until(lambda: ada.get(path_of(app))["download_count"] == 2)
    (version,) = ada.get(f"{path_of(app)}/versions")
    assert version["download_count"] == 2
    assert version["last_pulled_at"]


def test_the_last_use_of_a_token_is_told(town: Town) -> None:
    bob = api(town, "bob")
    made = bob.do("POST", "/user/tokens", 201, scopes=["read:packages"])

    def last_used() -> object:
        (token,) = [each for each in bob.get("/user/tokens") if each["id"] == made["id"]]
        return token["last_used_at"]

    assert last_used() is None
    town.bearer(made["token"])
    until(lambda: last_used() is not None)
