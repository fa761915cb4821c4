"""A package keeps a version: the last one goes with the package, or hides it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.registry.access.test_rest import Api, api, path_of
from tests.registry.acts import image
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from tests.registry.access.conftest import Client, Town


def _push_untagged(client: Client, app: str, text: str) -> str:
    config = client.push(app, json.dumps({"architecture": "arm64", "os": "linux"}).encode())
    content = image(config, client.push(app, text.encode()))
    answer = client.put_manifest(app, digest_of(content), content)
    assert answer.status == 201, answer.body
    return digest_of(content)


def _ids(ada: Api, app: str) -> dict[str, int]:
    return {each["name"]: each["id"] for each in ada.get(f"{path_of(app)}/versions")}


def test_the_last_tagged_version_is_deleted_with_its_package_alone(town: Town, app: str) -> None:
    client, ada = town.person("ada"), api(town, "ada")
    untagged = _push_untagged(client, app, "untagged")
    first, second = (client.push_image(app, tag, text=tag) for tag in ("v1", "v2"))
    at, ids = f"{path_of(app)}/versions", _ids(ada, app)
    ada.do("DELETE", f"{at}/{ids[first]}")
    answer = ada.call("DELETE", f"{at}/{ids[second]}")
    assert answer.status == 400
    assert "last tagged version of a package" in answer.json()["message"]
    assert "delete the package" in answer.json()["message"]
    ada.do("DELETE", f"{at}/{ids[untagged]}")
    assert list(_ids(ada, app)) == [second]
    ada.do("DELETE", path_of(app))


def test_a_last_version_without_a_tag_stays_too(town: Town, app: str) -> None:
    client, ada = town.person("ada"), api(town, "ada")
    first = _push_untagged(client, app, "one")
    second = _push_untagged(client, app, "two")
    at, ids = f"{path_of(app)}/versions", _ids(ada, app)
    ada.do("DELETE", f"{at}/{ids[first]}")
    answer = ada.call("DELETE", f"{at}/{ids[second]}")
    assert answer.status == 400
    assert "last version of a package" in answer.json()["message"]


def test_what_registry_clients_empty_is_hidden_until_the_next_push(town: Town, app: str) -> None:
    client, ada = town.person("ada"), api(town, "ada")
    digest = client.push_image(app)
    ada.do("PATCH", path_of(app), 200, visibility="internal")
    (version_id,) = _ids(ada, app).values()
    answer = client.delete(f"/v2/{app}/manifests/{digest}")
    assert answer.status == 202
    assert "hidden until the next push" in answer.headers["Warning"]
    _is_hidden(town, app)
    # what was deleted is restored, and with it the package
    (deleted,) = ada.get(f"{path_of(app)}/versions?state=deleted")
    assert deleted["id"] == version_id
    ada.do("POST", f"{path_of(app)}/versions/{version_id}/restore")
    assert ada.get(path_of(app))["visibility"] == "internal"
    client.delete(f"/v2/{app}/manifests/{digest}")
    client.push_image(app, text="another")
    assert ada.get(path_of(app))["visibility"] == "internal"


def test_a_push_that_got_to_no_manifest_shows_no_package(town: Town, app: str) -> None:
    client = town.person("ada")
    client.push(app, b"layer alone")
    _is_hidden(town, app)
    client.push_image(app)
    assert api(town, "ada").get(path_of(app))["version_count"] == 1


def test_a_tag_that_is_deleted_leaves_its_version(town: Town, app: str) -> None:
    town.person("ada").push_image(app, "v1")
    ada = api(town, "ada")
    ada.do("DELETE", f"{path_of(app)}/tags/v1")
    assert ada.get(path_of(app))["version_count"] == 1


def _is_hidden(town: Town, app: str) -> None:
    ada, client, name = api(town, "ada"), town.person("ada"), app.partition("/")[2]
    for path in (path_of(app), f"{path_of(app)}/versions", f"{path_of(app)}/access"):
        assert ada.call("GET", path).status == 404, path
    listed = ada.get("/orgs/acme/packages?package_type=container&per_page=100")
    assert name not in [each["name"] for each in listed]
    assert client.get(f"/packages/{app}").status == 404
    assert name not in client.get("/packages/acme").body.decode()
