"""What pages show of packages, to whom, and in which order."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import TYPE_CHECKING, Any

from tests.registry.access.test_rest import api, path_of
from tests.registry.acts import index
from tests.registry.protocol import digest_of

if TYPE_CHECKING:
    from tests.registry.access.conftest import Client, Town

EMPTY = b"{}"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def shown(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(f"/packages{path}")
    assert answer.status == status, answer.body
    text = re.sub(r"<[^>]*>", " ", answer.body.decode())
    return " ".join(unescape(text).split())


def tags_in_order(client: Client, path: str) -> list[str]:
    body = client.get(f"/packages{path}").body.decode()
    return re.findall(r'<a class="tag"[^>]*>([^<]*)</a>', body)


def test_every_tag_is_on_some_page_in_the_order_of_versions(town: Town, app: str) -> None:
    ada = town.person("ada")
    for number in range(40):
        ada.push_image(app, f"1.{number}.0")
    for tag in ("latest", "main", "v2.0.0-rc.1", "v2.0.0", "2.0.0-alpine"):
        ada.push_image(app, tag)
    first, second = tags_in_order(ada, f"/{app}"), tags_in_order(ada, f"/{app}?page=2")
    assert first[:6] == ["latest", "v2.0.0", "2.0.0-alpine", "v2.0.0-rc.1", "1.39.0", "1.38.0"]
    assert len(first) == 30
    assert second[-2:] == ["1.0.0", "main"]
    assert len({*first, *second}) == 45
    assert tags_in_order(ada, f"/{app}?sort=name&q=2.0.0") == [
        "2.0.0-alpine",
        "v2.0.0",
        "v2.0.0-rc.1",
    ]
    assert tags_in_order(ada, f"/{app}?sort=time")[0] == "2.0.0-alpine"
    assert tags_in_order(ada, f"/{app}?q=1.3") == [
        f"1.{number}.0" for number in range(39, 29, -1)
    ] + ["1.3.0"]
    assert "Page 1 of 2" in shown(ada, f"/{app}")
    assert "No tag or digest has nothing in it" in shown(ada, f"/{app}?q=nothing").replace(
        " nothing ", " nothing "
    )


def test_an_index_shows_its_platforms_and_what_signs_them(town: Town, app: str) -> None:
    """Referrers, cosign's tags, and the attestations that BuildKit lists in an index."""
    ada = town.person("ada")
    children = [ada.push_image(app, f"c{number}", f"layer {number}") for number in range(2)]
    statement = ada.push_image(app, "statement", "in-toto")
    entries: list[dict[str, Any]] = []
    for digest, architecture in zip(children, ("amd64", "arm64"), strict=True):
        size = int(ada.get(f"/v2/{app}/manifests/{digest}").headers["Content-Length"])
        platform = {"os": "linux", "architecture": architecture}
        entries.append(
            {"mediaType": MANIFEST_TYPE, "digest": digest, "size": size, "platform": platform}
        )
    size = int(ada.get(f"/v2/{app}/manifests/{statement}").headers["Content-Length"])
    entries.append(
        {
            "mediaType": MANIFEST_TYPE,
            "digest": statement,
            "size": size,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": children[0],
            },
        }
    )
    content = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}
    ).encode()
    parent = digest_of(content)
    assert ada.put_manifest(app, "v1", content).status == 201
    ada.push_image(app, f"{parent.replace(':', '-')}.sig", "cosign")
    config = ada.push(app, EMPTY)
    sbom = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": "application/spdx+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [],
        "subject": {"mediaType": MANIFEST_TYPE, "digest": children[1], "size": size},
    }
    assert (
        ada.put_manifest(
            app, digest_of(json.dumps(sbom).encode()), json.dumps(sbom).encode()
        ).status
        == 201
    )

    page = shown(ada, f"/{app}/-/versions/{parent}")
    amd64, arm64 = page.index("linux/amd64 sha256"), page.index("linux/arm64 sha256")
    assert page.index("signature sha256") < amd64
    assert amd64 < page.index(f"attestation {statement[:19]}") < arm64
    assert arm64 < page.index("SBOM sha256")
    assert "unknown/unknown sha256" not in page
    for digest in children:
        for command in ("docker pull ", "FROM "):
            assert f"{command}{town.address}/{app}@{digest}" in page
    assert "signature" in shown(ada, f"/{app}?q=v1")
    newest = api(town, "ada").get(f"{path_of(app)}/versions")[0]
    assert newest["html_url"].endswith(f"/packages/{app}/-/versions/{newest['id']}")
    assert newest["name"] in shown(ada, newest["html_url"].partition("/packages")[2])
    assert "Part of v1" in shown(ada, f"/{app}/-/versions/{children[0]}")


def test_an_index_without_platforms_shows_those_of_its_images(town: Town, app: str) -> None:
    ada = town.person("ada")
    child = ada.push_image(app)
    answer = ada.put_manifest(app, "v1", index(child))
    page = shown(ada, f"/{app}/-/versions/{answer.headers['Docker-Content-Digest']}")
    assert f"linux/amd64 {child}" in page


def test_versions_are_listed_whether_tagged_or_not(town: Town, app: str) -> None:
    ada = town.person("ada")
    lost = ada.push_image(app, "v1", "first")
    kept = ada.push_image(app, "v1", "second")
    page = shown(ada, f"/{app}/-/versions")
    assert f"{lost[:19]} untagged" in page
    assert f"{kept[:19]} v1" in page
    assert re.search(r"pushed \d{4}-\d\d-\d\d \d\d:\d\d UTC", page)


def test_home_and_search_show_what_one_may_read(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    public = f"{app}-open"
    town.person("ada").push_image(public)
    api(town, "ada").do("PATCH", path_of(public), 200, visibility="public")
    name = app.partition("/")[2]
    nobody = shown(town.client(), f"/?q={name}")
    assert f"{public} public" in nobody
    assert "1 package found" in nobody
    assert "2 packages found" in shown(town.person("ada"), f"/?q={name}")
    assert "2 packages found" in shown(town.person("ada"), f"/?q=ACME/{name}")
    assert "1 package found" in shown(town.person("eve"), f"/?q={name}")
    assert "acme organisation" in shown(town.client(), "/")
    # searching tells nothing of what is hidden
    missing = shown(town.client(), f"/?q={name}x")
    town.person("ada").push_image(f"{app}x")
    assert shown(town.client(), f"/?q={name}x") == missing
    assert "No package that you can see" in shown(town.client(), "/?q=%25")


def test_no_page_of_a_package_hints_at_it(town: Town, app: str) -> None:
    """Hidden and missing look the same, whatever the page."""
    ada = town.person("ada")
    digest = ada.push_image(app)
    number = api(town, "ada").get(f"{path_of(app)}/versions")[0]["id"]
    for client in (town.client(), town.person("eve")):
        for page in ("", "/-/versions", f"/-/versions/{number}", f"/-/versions/{digest}"):
            hidden = shown(client, f"/{app}{page}", 404)
            assert hidden.replace(app, "X") == shown(client, f"/acme/0{page}", 404).replace(
                "acme/0", "X"
            )
    # a version of another package is none of this one
    other = f"{app}-other"
    ada.push_image(other, text="other")
    shown(ada, f"/{other}/-/versions/{number}", 404)
    for which in ("0", "x", "sha256:0", "9" * 30, "-1", "%00"):
        shown(ada, f"/{app}/-/versions/{which}", 404)


def test_the_linked_repository_is_shown(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    api(town, "ada").do("PUT", f"{path_of(app)}/repository", repository="acme/code")
    assert "Linked repository acme/code" in shown(town.person("ada"), f"/{app}")


def test_names_with_slashes_have_all_pages(town: Town, app: str) -> None:
    name = f"{app}/versions/1"
    digest = town.person("ada").push_image(name)
    for page in ("", "/-/versions", f"/-/versions/{digest}"):
        assert name.partition("/")[2] in shown(town.person("ada"), f"/{name}{page}")
    shown(town.person("ada"), f"/{name}/-/nothing", 404)
