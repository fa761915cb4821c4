"""A label gives no rights away: six ways in which one did, and what it may do."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.registry.access.test_rest import Api, api, path_of
from tests.registry.acts import image

if TYPE_CHECKING:
    from tests.registry.access.conftest import Client, Town
    from tests.registry.protocol import Answer

LABEL = "org.opencontainers.image.source"


@pytest.fixture
def source() -> str:
    """The name of a source repository that no other test uses."""
    return f"s{secrets.token_hex(4)}"


def add_source(town: Town, owner: str, name: str, visibility: str = "public") -> str:
    """Name a source repository as an owner of its namespace; return its full name."""
    maker = api(town, "ada" if owner == "acme" else owner)
    maker.do("POST", f"/repos/{owner}", name=name, visibility=visibility)
    return f"{owner}/{name}"


def labelled(town: Town, full_name: str, host: str | None = None) -> dict[str, str]:
    return {LABEL: f"http://{host or town.address}/{full_name}"}


def push(client: Client, app: str, tag: str, labels: dict[str, str]) -> Answer:
    """Push an image with labels; return the answer to its manifest."""
    document = {"os": "linux", "architecture": "amd64", "config": {"Labels": labels}}
    named = client.push(app, json.dumps(document).encode())
    answer = client.put_manifest(app, tag, image(named, client.push(app, tag.encode())))
    assert answer.status == 201, answer.body
    return answer


def workflow(town: Town, issuer: str, full_name: str, kind: str = "automation") -> Client:
    made = api(town, issuer).do("POST", f"/repos/{full_name}/tokens", 201, kind=kind)
    return town.client(f"Bearer {made['token']}")


def package_of(app: str) -> str:
    """Return the path of a package of a user or of acme."""
    return path_of(app) if app.startswith("acme/") else path_of(app).replace("/orgs/", "/users/")


def shut_out_soon(client: Client, app: str) -> None:
    """Wait until rights that were taken away count no longer: within a second."""
    for _ in range(100):
        read, write = client.get(f"/v2/{app}/tags/list").status, client.start(app).status
        if read == 404 and write in {403, 404}:
            return
        time.sleep(0.05)
    raise AssertionError(f"{app} is still open")


def assert_nothing_given(town: Town, maker: Api, app: str, stranger: str, full_name: str) -> None:
    """A package is private and unlinked; neither the stranger nor its workflows get at it."""
    package = maker.get(package_of(app))
    assert (package["visibility"], package["inherits"]) == ("private", False)
    assert "repository" not in package
    assert maker.get(f"{package_of(app)}/access")["workflows"] == []
    for client in (town.person(stranger), workflow(town, stranger, full_name)):
        assert client.get(f"/v2/{app}/manifests/latest").status == 404
        assert client.start(app).status == 404
        assert client.delete(f"/v2/{app}/manifests/latest").status == 404
    assert api(town, stranger).call("DELETE", package_of(app)).status == 404
    assert town.client().get(f"/v2/{app}/manifests/latest").status == 401


def test_a_base_image_takes_over_nothing_that_is_built_on_it(town: Town, source: str) -> None:
    app, full_name = f"bob/{source}", add_source(town, "eve", source)
    answer = push(town.person("bob"), app, "latest", labelled(town, full_name))
    assert "not linked" in answer.headers["Warning"]
    assert_nothing_given(town, api(town, "bob"), app, "eve", full_name)
    entries = api(town, "bob").get(f"/audit?package={app}")
    refused = [entry for entry in entries if entry["action"] == "link refused"]
    assert all(full_name in entry["detail"] for entry in refused)


def test_a_later_label_takes_over_no_private_package(town: Town, source: str) -> None:
    app, full_name = f"bob/{source}", add_source(town, "eve", source)
    push(town.person("bob"), app, "latest", {})
    answer = push(town.person("bob"), app, "latest", labelled(town, full_name))
    assert "not linked" in answer.headers["Warning"]
    assert_nothing_given(town, api(town, "bob"), app, "eve", full_name)


def test_a_writer_leaves_no_back_door(town: Town, app: str, source: str) -> None:
    """He pushes one tag that is labelled with his own repository, and loses the role."""
    full_name = add_source(town, "eve", source)
    ada, eve = api(town, "ada"), town.person("eve")
    push(town.person("ada"), app, "latest", {})
    ada.do("PUT", f"{path_of(app)}/access/roles/eve", role="write")
    answer = push(eve, app, "v2", labelled(town, full_name))
    assert "you are not an admin of the package" in answer.headers["Warning"]
    ada.do("DELETE", f"{path_of(app)}/access/roles/eve")
    shut_out_soon(eve, app)
    assert_nothing_given(town, ada, app, "eve", full_name)


def test_labels_of_another_host_link_nothing(town: Town, app: str, source: str) -> None:
    """But to what is recorded as being there."""
    full_name = add_source(town, "acme", source)
    ada, labels = api(town, "ada"), labelled(town, full_name, "git.elsewhere.example")
    answer = push(town.person("ada"), app, "latest", labels)
    assert "registry.source_hosts" in answer.headers["Warning"]
    assert "repository" not in ada.get(path_of(app))
    ada.do("PATCH", f"/repos/{full_name}", host="git.elsewhere.example")
    (shown,) = [one for one in ada.get("/repos/acme") if one["full_name"] == full_name]
    assert (shown["host"], shown["writers_link"]) == ("git.elsewhere.example", False)
    answer = push(town.person("ada"), app, "v2", labelled(town, full_name))
    assert "not linked" in answer.headers["Warning"]
    answer = push(town.person("ada"), app, "v3", labels)
    assert "Warning" not in answer.headers
    assert ada.get(path_of(app))["repository"]["full_name"] == full_name
    ada.do("PATCH", f"/repos/{full_name}", 400, host="https://git.elsewhere.example")


def test_who_makes_a_package_is_not_locked_out_of_it(town: Town, app: str, source: str) -> None:
    """A member who may only read, or write, in the repository that his label names."""
    full_name = add_source(town, "acme", source, "private")
    ada, bob = api(town, "ada"), town.person("bob")
    ada.do("PUT", f"/repos/{full_name}/roles/bob", role="read")
    answer = push(bob, app, "v1", labelled(town, full_name))
    assert "not linked" in answer.headers["Warning"]
    push(bob, app, "v2", labelled(town, full_name))
    # where its owner lets writers, the label of one links, and he stays admin of what he made
    ada.do("PUT", f"/repos/{full_name}/roles/bob", role="write")
    ada.do("PATCH", f"/repos/{full_name}", writers_link=True)
    other = f"{app}-other"
    assert "Warning" not in push(bob, other, "v1", labelled(town, full_name)).headers
    package = ada.get(path_of(other))
    assert (package["repository"]["full_name"], package["inherits"]) == (full_name, True)
    assert package["visibility"] == "private"
    roles = api(town, "bob").get(f"{path_of(other)}/access")["roles"]
    assert [(one["name"], one["role"], one["inherited"]) for one in roles] == [
        ("bob", "admin", False),
        ("bob", "write", True),
    ]
    push(bob, other, "v2", labelled(town, full_name))
    assert bob.delete(f"/v2/{other}/manifests/v1").status == 202


def test_a_later_link_by_hand_changes_nothing_until_somebody_asks(
    town: Town, app: str, source: str
) -> None:
    """For workflows too."""
    full_name = add_source(town, "acme", source)
    ada, automation = api(town, "ada"), workflow(town, "ada", full_name)
    push(town.person("ada"), app, "latest", {})
    ada.do("PUT", f"{path_of(app)}/repository", repository=full_name)
    assert automation.get(f"/v2/{app}/manifests/latest").status == 404
    assert ada.get(f"{path_of(app)}/access")["workflows"] == []
    ada.do("PUT", f"{path_of(app)}/access/mode", 200, inherits=True)
    assert automation.get(f"/v2/{app}/manifests/latest").status == 200
    push(automation, app, "latest", {})
    access = ada.get(f"{path_of(app)}/access")
    assert access["visibility"] == "private"
    assert access["workflows"] == [
        {"repository": full_name, "kind": kind, "role": role, "may_publish": False}
        for kind, role in (("automation", "admin"), ("environment", "read"))
    ]
    # the end of the link is the end of that
    ada.do("PUT", f"{path_of(app)}/access/mode", 200, inherits=False)
    ada.do("DELETE", f"{path_of(app)}/repository")
    shut_out_soon(automation, app)
    assert ada.get(f"{path_of(app)}/access")["workflows"] == []


def test_a_label_gives_no_rights_to_another_owner(town: Town, app: str, source: str) -> None:
    """Eve makes ada an admin of her repository, who is not asked, and waits for her builds."""
    full_name = add_source(town, "eve", source)
    api(town, "eve").do("PUT", f"/repos/{full_name}/roles/ada", role="admin")
    answer = push(town.person("ada"), app, "latest", labelled(town, full_name))
    assert "inherits no roles" in answer.headers["Warning"]
    access = api(town, "ada").get(f"{path_of(app)}/access")
    assert (access["repository"], access["inherits"]) == (full_name, False)
    assert access["workflows"] == []
    for client in (town.person("eve"), workflow(town, "eve", full_name)):
        assert client.get(f"/v2/{app}/manifests/latest").status == 404


def test_an_administrator_counts_by_its_own_roles(town: Town, app: str, source: str) -> None:
    """It builds on other people's images as everybody does."""
    full_name = add_source(town, "eve", source)
    answer = push(town.admin(), app, "latest", labelled(town, full_name))
    assert "not linked" in answer.headers["Warning"]
    assert "repository" not in api(town, "ada").get(path_of(app))


def test_a_publishing_workflow_is_admin_but_publishes_to_nobody(
    town: Town, app: str, source: str
) -> None:
    full_name = add_source(town, "acme", source)
    ada, automation = api(town, "ada"), workflow(town, "ada", full_name)
    push(automation, app, "latest", {})
    package = ada.get(path_of(app))
    assert (package["repository"]["full_name"], package["visibility"]) == (full_name, "private")
    calls = Api(automation)
    grant = f"{path_of(app)}/access/workflows/{quote(full_name, safe='')}/automation"
    assert calls.do("PATCH", path_of(app), 200, immutable_tags=True)["immutable_tags"]
    told = calls.do("PATCH", path_of(app), 403, visibility="public")["message"]
    assert "may_publish" in told
    for method, path, body in (
        ("PUT", grant, {"role": "admin", "may_publish": True}),
        ("PUT", f"{path_of(app)}/access/roles/eve", {"role": "read"}),
        ("PUT", f"{path_of(app)}/access/mode", {"inherits": False}),
        ("DELETE", f"{path_of(app)}/repository", {}),
    ):
        assert "only people manage access" in calls.do(method, path, 403, **body)["message"]
    ada.do("PUT", grant, role="admin", may_publish=True)
    assert calls.do("PATCH", path_of(app), 200, visibility="public")["visibility"] == "public"


def test_an_admin_workflow_deletes_and_restores(town: Town, app: str, source: str) -> None:
    """GitHub: a workflow whose role is admin may, by REST; one that may only write may not."""
    full_name = add_source(town, "acme", source)
    ada, automation = api(town, "ada"), workflow(town, "ada", full_name)
    push(automation, app, "v1", {})
    push(automation, app, "v2", {})
    calls, grant = (
        Api(automation),
        f"{path_of(app)}/access/workflows/{quote(full_name, safe='')}/automation",
    )
    version = calls.get(f"{path_of(app)}/versions")[0]["id"]
    for path in (path_of(app), f"{path_of(app)}/versions/{version}"):
        calls.do("DELETE", path)
        calls.do("POST", f"{path}/restore")
    assert len(calls.get(f"{path_of(app)}/versions")) == 2
    ada.do("PUT", grant, role="write")
    calls.do("DELETE", path_of(app), 403)
