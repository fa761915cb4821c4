"""What every endpoint of the registry answers anonymous, unrelated and permitted callers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, literal, select, update

from blobd.registry.catalog.tables import package_roles, packages, repositories
from tests.registry.acts import image
from tests.registry.identity.worlds import BOB, EVE
from tests.registry.protocol import digest_of, with_digest

if TYPE_CHECKING:
    from sqlalchemy import Executable, ScalarSelect

    from tests.registry.access.conftest import Client, Town
    from tests.registry.protocol import Answer

LAYER = b"layer"


def paths(name: str, manifest: str) -> list[tuple[str, str, bytes | None]]:
    """Return a request of every kind on a repository."""
    blob = digest_of(LAYER)
    upload = "0" * 32
    return [
        ("GET", f"/v2/{name}/manifests/latest", None),
        ("HEAD", f"/v2/{name}/manifests/{manifest}", None),
        ("PUT", f"/v2/{name}/manifests/latest", image(blob, blob)),
        ("DELETE", f"/v2/{name}/manifests/{manifest}", None),
        ("DELETE", f"/v2/{name}/manifests/latest", None),
        ("GET", f"/v2/{name}/blobs/{blob}", None),
        ("HEAD", f"/v2/{name}/blobs/{blob}", None),
        ("DELETE", f"/v2/{name}/blobs/{blob}", None),
        ("GET", f"/v2/{name}/tags/list", None),
        ("GET", f"/v2/{name}/referrers/{manifest}", None),
        ("POST", f"/v2/{name}/blobs/uploads/", None),
        ("POST", f"/v2/{name}/blobs/uploads/?mount={blob}", None),
        ("PATCH", f"/v2/{name}/blobs/uploads/{upload}", b"x"),
        ("PUT", f"/v2/{name}/blobs/uploads/{upload}?digest={blob}", b"x"),
        ("GET", f"/v2/{name}/blobs/uploads/{upload}", None),
        ("DELETE", f"/v2/{name}/blobs/uploads/{upload}", None),
    ]


def told(client: Client, name: str, manifest: str) -> list[tuple[int, bytes, list[str]]]:
    """Return all that tells one repository from another in answers to every kind of request."""
    found = []
    for method, path, body in paths(name, manifest):
        answer = client.send(method, path, body, {"Content-Type": "application/octet-stream"})
        headers = [
            f"{header}: {value}".replace(name, "NAME")
            for header, value in answer.headers.items()
            if header != "Date"
        ]
        image_name = name.partition("/")[2]  # which a refusal suggests in the caller's namespace
        said = answer.body.replace(name.encode(), b"NAME").replace(image_name.encode(), b"IMAGE")
        found.append((answer.status, said, headers))
    return found


def package(name: str) -> ScalarSelect[int]:
    return select(repositories.c.id).where(repositories.c.name == name).scalar_subquery()


def given(name: str, person: int, role: str) -> Executable:
    return insert(package_roles).from_select(
        ["repository_id", "grantee_kind", "grantee_id", "role"],
        select(repositories.c.id, literal("user"), literal(person), literal(role)).where(
            repositories.c.name == name
        ),
    )


def published(name: str) -> Executable:
    return (
        update(packages)
        .where(packages.c.repository_id == package(name))
        .values(visibility="public")
    )


def message(answer: Answer) -> str:
    return str(answer.json()["errors"][0]["message"])


def test_the_first_push_is_private_and_pulled_by_who_may(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    for who, status in (("ada", 200), ("bob", 404), ("eve", 404)):
        assert town.person(who).get(f"/v2/{app}/manifests/{digest}").status == status
    answer = town.client().get(f"/v2/{app}/manifests/{digest}")
    assert answer.status == 401
    assert "log in" in message(answer)


def test_who_may_not_read_is_told_what_is_told_of_nothing(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    nothing = f"acme/{'0' * 12}"
    for client in (town.person("eve"), town.bearer("blobd_pat_eve", f"repository:{app}:pull,push")):
        answers = told(client, app, digest)
        assert answers == told(client, nothing, digest)
        assert {status for status, _, _ in answers} == {404}
    nobody = told(town.client(), app, digest)
    assert nobody == told(town.client(), nothing, digest)
    assert {status for status, _, _ in nobody} == {401}
    # and nothing has happened to it
    assert town.person("ada").get(f"/v2/{app}/manifests/latest").status == 200


def test_lists_hold_what_may_be_read(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    for who, seen in (("ada", True), ("eve", False)):
        names = town.person(who).get("/v2/_catalog").json()["repositories"]
        assert (app in names) is seen
    assert app in town.admin().get("/v2/_catalog").json()["repositories"]
    assert town.client().get("/v2/_catalog").status == 401
    answer = town.bearer("blobd_pat_ada").get("/v2/_catalog")
    assert answer.status == 401
    challenge = answer.headers["WWW-Authenticate"]
    assert 'scope="registry:catalog:*",error="insufficient_scope"' in challenge
    asked = town.bearer("blobd_pat_ada", "registry:catalog:*")
    assert asked.get("/v2/_catalog").status == 200


def test_a_public_package_is_pulled_by_everybody(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    town.change(published(app))
    blob = digest_of(LAYER)
    for client in (
        town.client(),
        town.client("Basic Og=="),
        town.person("eve"),
        town.bearer(None, f"repository:{app}:pull"),
        town.bearer("blobd_pat_eve"),
    ):
        assert client.get(f"/v2/{app}/manifests/latest").status == 200
        assert client.get(f"/v2/{app}/blobs/{blob}").body == LAYER
        assert client.get(f"/v2/{app}/referrers/{digest}").status == 200
        assert client.get(f"/v2/{app}/tags/list").json()["tags"] == ["latest"]
    for name in ("gone", "over", "never"):
        assert town.person(name).get(f"/v2/{app}/manifests/latest").status == 401


def test_who_may_read_but_not_do_it_is_told_role_and_scope(town: Town, app: str) -> None:
    digest = town.person("ada").push_image(app)
    town.change(given(app, EVE, "read"))
    eve = town.person("eve")
    assert eve.get(f"/v2/{app}/manifests/latest").status == 200
    answer = eve.start(app)
    assert (answer.status, answer.codes) == (403, ["DENIED"])
    assert "role write" in message(answer)
    assert "write:packages" in message(answer)
    answer = eve.delete(f"/v2/{app}/manifests/{digest}")
    assert (answer.status, answer.codes) == (403, ["DENIED"])
    assert "role admin" in message(answer)
    assert "delete:packages" in message(answer)
    # a role that would do does not help a token that is for less
    town.change(given(app, BOB, "admin"))
    assert town.person("bob").start(app).status == 202
    assert town.person("bobr").start(app).status == 403


def test_who_has_the_right_and_did_not_ask_is_told_to(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    asked = town.bearer("blobd_pat_ada", f"repository:{app}:pull")
    assert asked.get(f"/v2/{app}/manifests/latest").status == 200
    answer = asked.start(app)
    assert answer.status == 401
    challenge = answer.headers["WWW-Authenticate"]
    assert f'scope="repository:{app}:pull,push",error="insufficient_scope"' in challenge
    assert town.bearer("blobd_pat_ada", f"repository:{app}:pull,push").start(app).status == 202


def test_blobs_are_mounted_only_from_what_may_be_read(town: Town, app: str) -> None:
    secret = f"secret of {app}".encode()
    digest = town.person("ada").push(app, secret)
    own = f"eve/{app[-12:]}"
    eve = town.person("eve")
    for query in (f"?mount={digest}&from={app}", f"?mount={digest}", f"?mount={digest}&from=a/b"):
        answer = eve.start(own, query)
        assert answer.status == 202
    assert eve.head(f"/v2/{own}/blobs/{digest}").status == 404
    town.change(given(app, EVE, "read"))
    assert eve.start(own, f"?mount={digest}&from={app}").status == 201
    assert eve.get(f"/v2/{own}/blobs/{digest}").body == secret
    assert eve.start(f"{own}/more", f"?mount={digest}").status == 201


def test_a_member_makes_packages_and_is_admin_of_its_own(town: Town, app: str) -> None:
    bob, ada = town.person("bob"), town.person("ada")
    digest = bob.push_image(app)
    assert ada.get(f"/v2/{app}/manifests/{digest}").status == 200
    assert bob.delete(f"/v2/{app}/manifests/{digest}").status == 202
    assert town.person("eve").start(f"{app}x").status == 404
    answer = town.person("bobr").start(f"{app}x")
    assert answer.status == 404
    assert bob.start("bob/own").status == 202
    assert bob.start("ada/own").status == 404
    assert bob.start("nowhere/own").status == 404


def test_what_a_workflow_publishes_belongs_to_its_source(town: Town, app: str) -> None:
    workflow = town.client("Bearer blobd_wft_w")
    workflow.push_image(app)
    assert town.person("ada").delete(f"/v2/{app}/manifests/latest").status == 202
    assert town.person("bob").get(f"/v2/{app}/tags/list").status == 404
    other = f"{app}-other"
    town.person("ada").push_image(other)
    answer = workflow.start(other)
    assert (answer.status, answer.codes) == (403, ["DENIED"])
    assert f"PUT /api/orgs/acme/packages/container/{other[5:]}/repository" in message(answer)
    assert "acme%2Fcode/automation" in message(answer)
    assert workflow.get(f"/v2/{other}/tags/list").status == 404


def test_a_right_that_is_taken_away_ends_within_a_moment(town: Town, app: str) -> None:
    town.person("ada").push_image(app)
    town.change(given(app, EVE, "read"))
    eve = town.bearer("blobd_pat_eve", f"repository:{app}:pull")
    assert eve.get(f"/v2/{app}/tags/list").status == 200
    town.change(delete(package_roles).where(package_roles.c.repository_id == package(app)))
    for _ in range(100):
        if eve.get(f"/v2/{app}/tags/list").status == 404:
            return
        time.sleep(0.1)
    raise AssertionError("eve still reads")


def test_a_failed_push_makes_no_package(town: Town, app: str) -> None:
    ada = town.person("ada")
    location = ada.start(app).location
    wrong = ada.send("PUT", with_digest(location, digest_of(b"other")), b"data")
    assert wrong.status == 400
    assert ada.put_manifest(app, "latest", image(digest_of(b"x"), digest_of(b"y"))).status == 400
    assert ada.get(f"/v2/{app}/tags/list").status == 404
