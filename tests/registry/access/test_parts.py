"""Over HTTP: what an index lists is shown as its parts, and a delete of one says what it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.registry.acts import index
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from tests.registry.access.conftest import Town


def test_parts_are_shown_and_missed_when_they_go(town: Town, app: str) -> None:
    ada = town.person("ada")
    children = [ada.push_image(app, f"part{n}", text=f"{n}") for n in range(2)]
    content = index(*children)
    parent = digest_of(content)
    assert ada.put_manifest(app, "v1", content).status == 201
    for number in range(2):  # as builders push them: by digest alone
        assert ada.delete(f"/v2/{app}/manifests/part{number}").status == 202
    owner, _, name = app.partition("/")
    path = f"/api/orgs/{owner}/packages/container/{name}/versions"
    found = {each["name"]: each for each in ada.get(path).json()}
    assert sorted(found[parent]["children"]) == sorted(children)
    assert found[parent]["parents"] == []
    for child in children:
        assert found[child]["parents"] == [{"name": parent, "tags": ["v1"]}]
        assert found[child]["children"] == []
    page = ada.get(f"/packages/{app}/-/versions").body.decode()
    assert page.count("part of") == 2
    assert "untagged</span>" not in page
    sentence = f"{parent} (tagged v1) lists what was deleted"
    version, manifest = f"{path}/{found[children[0]]['id']}", f"/v2/{app}/manifests/{children[1]}"
    for target in (version, manifest):
        kept = ada.delete(target)
        assert (kept.status, kept.headers["Allow"]) == (405, "GET, HEAD")
        assert f"is listed by {parent} (tagged v1); delete the index first" in kept.body.decode()
        assert ada.get(target).status == 200
    gone = ada.delete(f"{version}?force=true")
    assert gone.status == 204
    assert sentence in gone.headers["Warning"]
    gone = ada.delete(f"{manifest}?force=true")
    assert gone.status == 202
    assert sentence in gone.headers["Warning"]
    gone = ada.delete(f"/v2/{app}/manifests/{parent}")
    assert gone.status == 202
    assert "lists what was deleted" not in gone.headers["Warning"]
    assert "has no version left" in gone.headers["Warning"]
