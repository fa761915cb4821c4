"""Admins see on pages which texts of which version were cut; others do not."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tests.registry.access.person import Person
from tests.registry.access.test_rest import api, path_of
from tests.registry.acts import image

if TYPE_CHECKING:
    from tests.registry.access.conftest import Client, Town

_PREFIX = "org.opencontainers.image"
_CUT = f"{_PREFIX}.description has 600 characters and is cut after 512"


def push(client: Client, app: str, tag: str, **labels: str) -> None:
    said = {f"{_PREFIX}.{name}": text for name, text in labels.items()}
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": said}}
    content = image(client.push(app, json.dumps(config).encode()), client.push(app, tag.encode()))
    assert client.put_manifest(app, tag, content).status == 201


def pages(person: Person, app: str) -> tuple[str, str]:
    """Return the package's page and the one of the version tagged v1."""
    package = person.open(f"/packages/{app}").body.decode()
    (version,) = set(re.findall(rf'href="(/packages/{app}/-/versions/\d+)">v1</a>', package))
    return package, person.open(version).body.decode()


def test_admins_see_which_texts_of_which_version_were_cut(town: Town, app: str) -> None:
    client = town.person("ada")
    push(client, app, "v1", description="x" * 600, licenses="no licence!")
    push(client, app, "v2", description="short")
    api(town, "ada").do("PATCH", path_of(app), 200, visibility="public")
    ada, bob, nobody = Person(town), Person(town), Person(town)
    ada.sign_in("ada")
    bob.sign_in("bob")
    package, version = pages(ada, app)
    for shown in (package, version):
        assert _CUT in shown
        assert f"{_PREFIX}.licenses is not an SPDX licence expression" in shown
    assert re.search(r'/-/versions/\d+">v1</a>: org\.opencontainers', package)
    assert not re.search(r'/-/versions/\d+">v2</a>: ', package)
    for other in (bob, nobody):
        for shown in pages(other, app):
            assert _CUT not in shown


def test_what_was_mended_is_shown_no_more(town: Town, app: str) -> None:
    """The version whose text was cut goes, and with it the notice."""
    client, ada = town.person("ada"), Person(town)
    push(client, app, "v1", description="x" * 600)
    push(client, app, "v1", description="short")
    ada.sign_in("ada")
    package, version = pages(ada, app)
    assert _CUT in package, "the older version is still here"
    assert _CUT not in version
    numbers = [each["id"] for each in api(town, "ada").get(f"{path_of(app)}/versions")]
    api(town, "ada").do("DELETE", f"{path_of(app)}/versions/{numbers[-1]}")
    assert _CUT not in pages(ada, app)[0]
