"""`blobd package`: what an operator does to packages beside a daemon, on both databases."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.processes import Operator
from tests.daemon import Daemon
from tests.engines.every import needs_postgres
from tests.images import EMPTY, OCI
from tests.registry.protocol import Answer, Registry, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.postgres import Postgres

_KEPT_S = 86_400
_EMPTY_CONFIG = b"{}"


class Shop:
    """A daemon, its operator, and the organisation `shop`, where the administrator pushes."""

    def __init__(self, daemon: Daemon, operator: Operator) -> None:
        self.operator = operator
        self._registry = Registry(daemon.registry)
        self._token = daemon.first_token

    def send(self, method: str, path: str, body: bytes | None = None, kind: str = "") -> Answer:
        basic = base64.b64encode(f"x:{self._token}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": kind}
        return self._registry.send(method, path, body, headers)

    def api(self, path: str) -> Any:
        """Return what the REST API answers to the administrator."""
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = self._registry.send("GET", f"/api{path}", headers=headers)
        return answer.json() if answer.status == 200 else answer.status

    def anonymous_status(self, name: str, reference: str) -> int:
        """Return what a pull without a login is answered."""
        token = self._registry.get(f"/token?scope=repository:{name}:pull").json()["token"]
        path = f"/v2/{name}/manifests/{reference}"
        return self._registry.get(path, Authorization=f"Bearer {token}").status

    def status(self, name: str, reference: str) -> int:
        """Return what the administrator is answered who asks for a manifest."""
        return self.send("HEAD", f"/v2/{name}/manifests/{reference}").status

    def downloads(self, name: str) -> int:
        """Return how often a package was pulled, as far as that is written down."""
        (count,) = (
            each["downloads"]
            for each in self.operator.json("package", "ls")
            if each["package"] == name
        )
        return int(count)

    def push(self, name: str, tag: str, title: str = "") -> str:
        """Push a small artifact; return its digest."""
        config = digest_of(_EMPTY_CONFIG)
        path = f"/v2/{name}/blobs/uploads/?digest={config}"
        assert self.send("POST", path, _EMPTY_CONFIG, "application/octet-stream").status == 201
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI.manifest,
            "artifactType": "application/vnd.example",
            "config": {"mediaType": EMPTY, "digest": config, "size": len(_EMPTY_CONFIG)},
            "layers": [],
            "annotations": {"title": title or tag},
        }
        content = json.dumps(manifest).encode()
        answer = self.send("PUT", f"/v2/{name}/manifests/{tag}", content, OCI.manifest)
        assert answer.status == 201, answer.body
        return digest_of(content)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    data = tmp_path_factory.mktemp("packages") / "data"
    shared = {"registry.trash_retention_s": str(_KEPT_S)}
    if request.param == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        shared["catalog.url"] = postgres.create_database()
    settings = {"registry.auth": "true", "store.durability": "none", **shared}
    with Daemon(data, settings=settings) as daemon:
        named = {name.replace(".", "__"): value for name, value in shared.items()}
        operator = Operator(data, **named)
        operator.do("org", "add", "shop", "--owner", "admin")
        for user in ("uma", "vic"):
            operator.do("user", "add", user)
        operator.do("team", "add", "shop/crew")
        operator.do("repo", "add", "shop/code")
        operator.do("repo", "grant", "shop/code", "vic", "write")
        yield Shop(daemon, operator)


def test_packages_are_listed_by_owner_visibility_and_deletion(shop: Shop) -> None:
    for name in ("shop/listed", "shop/seen", "shop/gone"):
        shop.push(name, "v1")
    shop.operator.do("package", "visibility", "shop/seen", "internal")
    shop.operator.do("package", "delete", "shop/gone")

    def names(*words: str) -> set[str]:
        return {each["package"] for each in shop.operator.json("package", "ls", *words)}

    assert {"shop/listed", "shop/seen"} <= names()
    assert "shop/gone" not in names("--owner", "shop")
    assert names("--owner", "uma") == set()
    assert names("--owner", "shop", "--visibility", "internal") == {"shop/seen"}
    assert "shop/gone" in names("--owner", "shop", "--deleted")
    assert "shop/listed" not in names("--deleted")
    (listed,) = (
        each for each in shop.operator.json("package", "ls") if each["package"] == "shop/listed"
    )
    assert (listed["versions"], listed["visibility"]) == (1, "private")
    assert "shop/listed" in shop.operator.do("package", "ls")


def test_versions_are_listed_the_newest_first(shop: Shop) -> None:
    digests = [shop.push("shop/listing", f"v{number}") for number in range(3)]
    listed = shop.operator.json("package", "versions", "shop/listing")
    assert [each["digest"] for each in listed] == digests[::-1]
    assert [each["tags"] for each in listed] == [["v2"], ["v1"], ["v0"]]
    assert digests[0] in shop.operator.do("package", "versions", "shop/listing")
    assert shop.operator.json("package", "versions", "shop/listing", "--deleted") == []


def test_what_is_public_is_so_on_a_word_and_can_be_taken_back(shop: Shop) -> None:
    """As over REST: within ten minutes, if nobody has pulled it."""
    shop.push("shop/open", "v1")
    words = ("package", "visibility", "shop/open")
    assert "cannot be undone" in shop.operator.misused(*words, "public")
    assert shop.anonymous_status("shop/open", "v1") in {401, 404}
    said = shop.operator.do(*words, "public", "--yes")
    assert said.startswith("shop/open is public: everyone can pull")
    assert shop.anonymous_status("shop/open", "v1") == 200
    other = ("package", "visibility", "shop/other")
    shop.push("shop/other", "v1")
    shop.operator.do(*other, "public", "--yes")
    assert shop.operator.do(*other, "private") == "shop/other is private\n"
    assert shop.anonymous_status("shop/other", "v1") in {401, 404}
    while shop.downloads("shop/open") == 0:
        time.sleep(0.5)  # the daemon writes them down every few seconds
    assert "what is public stays public" in shop.operator.refused(*words, "private")
    lifted = ("--set", "registry.allow_unpublish=true")
    assert shop.operator.do(*words, "private", *lifted) == "shop/open is private\n"


def test_a_link_gives_nothing_and_inheriting_replaces_roles(shop: Shop) -> None:
    shop.push("shop/linked", "v1")
    name = "shop/linked"
    shop.operator.do("package", "grant", name, "uma", "write")
    said = shop.operator.do("package", "link", name, "shop/code")
    assert said == "shop/linked is linked to shop/code\n"
    assert ("user", "vic") not in _roles(shop, name)
    said = shop.operator.do("package", "link", name, "shop/code", "--inherit")
    assert "ended: user uma write" in said
    assert _roles(shop, name)["user", "vic"] == ("write", "inherited")
    assert _roles(shop, name)["automation workflows", "shop/code"] == ("admin", "")
    assert "inherits from shop/code" in shop.operator.refused(
        "package", "grant", name, "uma", "read"
    )
    assert "end that first" in shop.operator.refused("package", "unlink", name)
    said = shop.operator.do("package", "unlink", name, "--no-inherit")
    assert "ended: user vic write (inherited)" in said
    assert set(_roles(shop, name)) == {("user", "admin")}
    shop.operator.do("package", "link", name, "shop/code", "--inherit")
    shop.operator.do("package", "link", name, "shop/code", "--no-inherit")
    assert ("user", "vic") not in _roles(shop, name)
    assert "nowhere" in shop.operator.refused("package", "link", name, "shop/nowhere")


def test_roles_are_given_and_taken(shop: Shop) -> None:
    shop.push("shop/shared", "v1")
    name = "shop/shared"
    shop.operator.do("package", "grant", name, "uma", "read")
    said = shop.operator.do("package", "grant", name, "shop/crew", "admin")
    assert said == "shop/crew has the role admin in shop/shared\n"
    said = shop.operator.do(
        *("package", "grant", name, "shop/code", "write"),
        *("--workflows", "automation", "--may-publish"),
    )
    assert said == (
        "automation of shop/code has the role write in shop/shared, and may publish it\n"
    )
    given = _roles(shop, name)
    assert given["user", "uma"] == ("read", "")
    assert given["team", "shop/crew"] == ("admin", "")
    assert given["automation workflows", "shop/code"] == ("write", "publishes")
    for who in ("uma", "shop/crew"):
        shop.operator.do("package", "revoke", name, who)
        assert "is not known" in shop.operator.refused("package", "revoke", name, who)
    shop.operator.do("package", "revoke", name, "shop/code", "--workflows", "automation")
    assert set(_roles(shop, name)) == {("user", "admin")}
    assert "--workflows" in shop.operator.misused(
        "package", "grant", name, "uma", "read", "--may-publish"
    )


def test_a_package_is_deleted_and_restored(shop: Shop) -> None:
    shop.push("shop/twice", "v1")
    said = shop.operator.do("package", "delete", "shop/twice")
    assert said.startswith("deleted shop/twice with all its versions (1)\n`blobd package restore")
    assert shop.status("shop/twice", "v1") == 404
    assert shop.operator.do("package", "restore", "shop/twice").startswith("restored shop/twice")
    assert shop.status("shop/twice", "v1") == 200
    assert "is not known" in shop.operator.refused("package", "restore", "shop/twice")
    shop.operator.do("package", "delete", "shop/twice")
    shop.push("shop/twice", "v2")
    assert "is in use again" in shop.operator.refused("package", "restore", "shop/twice")


def test_a_version_is_deleted_by_digest_tag_or_number(shop: Shop) -> None:
    name = "shop/versions"
    digests = [shop.push(name, f"v{number}") for number in range(4)]
    shop.push(name, "same", title="v1")
    numbers = {
        each["digest"]: each["id"] for each in shop.operator.json("package", "versions", name)
    }
    delete = ("package", "delete", name)
    said = shop.operator.do(*delete, "--digest", digests[0])
    assert said.startswith(f"deleted {name}@{digests[0]} (v0)\n")
    assert shop.operator.do(*delete, "--tag", "same").startswith(
        f"deleted {name}@{digests[1]} (same v1)\n"
    )
    shop.operator.do(*delete, "--id", str(numbers[digests[2]]))
    assert [shop.status(name, digest) for digest in digests] == [404, 404, 404, 200]
    assert "delete the package" in shop.operator.refused(*delete, "--digest", digests[3])
    assert "is not known" in shop.operator.refused(*delete, "--tag", "v1")
    assert "is not known" in shop.operator.refused(*delete, "--id", "2147483647")
    assert "one of" in shop.operator.misused(*delete, "--tag", "v3", "--id", "1")
    gone = shop.operator.json("package", "versions", name, "--deleted")
    assert {each["digest"]: each["id"] for each in gone} == {
        digest: numbers[digest] for digest in digests[:3]
    }
    restore = ("package", "restore", name)
    shop.push(name, "v1", title="another")
    said = shop.operator.do(*restore, "--digest", digests[1])
    assert "the tag v1 names another version by now" in said
    shop.operator.do(*restore, "--id", str(numbers[digests[0]]))
    assert [shop.status(name, each) for each in ("v0", "same", digests[2])] == [200, 200, 404]
    assert "is not known" in shop.operator.refused(*restore, "--digest", digests[3])


def test_what_cannot_be_restored_is_deleted_on_a_word(shop: Shop) -> None:
    shop.push("shop/forever", "v1")
    words = ("package", "delete", "shop/forever", "--set", "registry.trash_retention_s=0")
    assert "cannot be restored" in shop.operator.misused(*words)
    assert shop.status("shop/forever", "v1") == 200
    assert shop.operator.do(*words, "--yes") == "deleted shop/forever with all its versions (1)\n"
    assert "is not known" in shop.operator.refused("package", "restore", "shop/forever")


def test_what_an_index_lists_is_deleted_on_a_word_with_a_warning(shop: Shop) -> None:
    name = "shop/index"
    child = shop.push(name, "child")
    size = len(shop.send("GET", f"/v2/{name}/manifests/{child}").body)
    index = {
        "schemaVersion": 2,
        "mediaType": OCI.index,
        "manifests": [{"mediaType": OCI.manifest, "digest": child, "size": size}],
    }
    content = json.dumps(index).encode()
    assert shop.send("PUT", f"/v2/{name}/manifests/all", content, OCI.index).status == 201
    delete = ("package", "delete", name, "--digest", child)
    assert "--force" in shop.operator.refused(*delete)
    run = shop.operator.run(*delete, "--force")
    assert run.returncode == 0
    assert b"lists what was deleted" in run.stderr


def test_the_audit_of_a_package_has_what_the_operator_did(shop: Shop) -> None:
    shop.push("shop/noted", "v1")
    done = [
        ("visibility", "shop/noted", "internal"),
        ("grant", "shop/noted", "uma", "read"),
        ("revoke", "shop/noted", "uma"),
        ("link", "shop/noted", "shop/code"),
        ("unlink", "shop/noted"),
        ("set", "shop/noted", "--immutable-tags"),
        ("delete", "shop/noted"),
        ("restore", "shop/noted"),
    ]
    for words in done:
        assert shop.operator.do("package", *words) != ""
    noted = shop.api("/audit?package=shop/noted&actor=")
    said = [each["detail"] for each in noted if each["action"] == "operator"]
    expected = [" ".join(("package", *words)) for words in done]
    expected[5] = "package set shop/noted immutable_tags=yes"
    assert said == expected[::-1]


def test_what_is_not_there_is_one_line(shop: Shop) -> None:
    for words in (
        ("versions", "shop/none"),
        ("visibility", "shop/none", "private"),
        ("link", "shop/none", "shop/code"),
        ("unlink", "shop/none"),
        ("roles", "shop/none"),
        ("grant", "shop/none", "uma", "read"),
        ("revoke", "shop/none", "uma"),
        ("delete", "shop/none"),
        ("restore", "shop/none"),
        ("delete", "nothing"),
    ):
        assert "is not known here" in shop.operator.refused("package", *words)
    assert "surrogate pair" in shop.operator.refused("package", "delete", "\udcff/\udcff")


def test_settings_of_a_package_are_shown_and_changed(shop: Shop) -> None:
    """What is not named stays."""
    shop.push("shop/set", "v1")
    shown = {
        "visibility": "private",
        "immutable_tags": "no",
        "sparse_indexes": "no",
        "repository": "",
    }
    operator = shop.operator
    assert operator.json("package", "show", "shop/set") == [shown]
    said = operator.do("package", "set", "shop/set", "--sparse-indexes")
    assert said == "shop/set: sparse_indexes=yes\n"
    operator.do("package", "set", "shop/set", "--immutable-tags")
    changed = {"immutable_tags": "yes", "sparse_indexes": "yes"}
    assert operator.json("package", "show", "shop/set") == [shown | changed]
    operator.do("package", "set", "shop/set", "--whole-indexes", "--mutable-tags")
    assert operator.json("package", "show", "shop/set") == [shown]
    assert "name a setting" in operator.misused("package", "set", "shop/set")
    assert "shop/none" in operator.refused("package", "set", "shop/none", "--sparse-indexes")


def _roles(shop: Shop, name: str) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (each["kind"], each["name"]): (each["role"], each["note"])
        for each in shop.operator.json("package", "roles", name)
    }
