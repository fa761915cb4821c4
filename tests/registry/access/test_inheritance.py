"""An organisation says whether its new packages inherit access; an admin, for one of them."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from tests.registry.access.test_rest import Api, api, path_of
from tests.registry.acts import image

if TYPE_CHECKING:
    from tests.registry.access.conftest import Client, Town


def _push_labelled(client: Client, app: str, source: str) -> str:
    """Push an image that names a source repository; return what the answer warns of."""
    labels = {"org.opencontainers.image.source": f"http://{client.address}/{source}"}
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}
    content = image(client.push(app, json.dumps(config).encode()), client.push(app, app.encode()))
    answer = client.put_manifest(app, "v1", content)
    assert answer.status == 201, answer.body
    return answer.headers["Warning"] or ""


def test_new_packages_do_not_inherit_where_the_organisation_says_so(town: Town) -> None:
    place, source = f"o{secrets.token_hex(4)}", f"s{secrets.token_hex(4)}"
    api(town, "admin").do("POST", "/orgs", name=place, owner="ada")
    ada, client = api(town, "ada"), town.person("ada")
    ada.do("POST", f"/repos/{place}", name=source, visibility="private")
    ada.do("PUT", f"/repos/{place}/{source}/roles/eve", role="read")
    made = ada.do("POST", f"/repos/{place}/{source}/tokens", 201, kind="automation")
    workflow = town.client(f"Bearer {made['token']}")
    assert ada.get(f"/orgs/{place}")["packages_inherit_access"] is True
    _push_labelled(client, f"{place}/before", f"{place}/{source}")
    api(town, "eve").do("PATCH", f"/orgs/{place}", 403, packages_inherit_access=False)
    changed = ada.do("PATCH", f"/orgs/{place}", 200, packages_inherit_access=False)
    assert changed["packages_inherit_access"] is False

    warning = _push_labelled(client, f"{place}/labelled", f"{place}/{source}")
    assert "switched that off" in warning
    workflow.push_image(f"{place}/published")
    for name, inherits in (("before", True), ("labelled", False), ("published", False)):
        package = ada.get(path_of(f"{place}/{name}"))
        assert package["inherits"] is inherits, name
        assert package["repository"]["full_name"] == f"{place}/{source}", name
        read = api(town, "eve").call("GET", path_of(f"{place}/{name}"))
        assert read.status == (200 if inherits else 404), name
    workflow.push_image(f"{place}/published", text="again")

    _of_one_package(ada, f"{place}/labelled")
    assert api(town, "eve").call("GET", path_of(f"{place}/labelled")).status == 200
    ada.do("PATCH", f"/orgs/{place}", 200, packages_inherit_access=True)
    workflow.push_image(f"{place}/after")
    assert ada.get(path_of(f"{place}/after"))["inherits"] is True


def _of_one_package(ada: Api, app: str) -> None:
    ada.do("PUT", f"{path_of(app)}/access/mode", 200, inherits=True)
    assert ada.get(path_of(app))["inherits"] is True
