"""Rights that end while a body is under way: the act at its end is refused, and nothing shows.

Each body comes over a raw socket. The daemon says 100 Continue once the head was admitted; then the
right is taken away, and only then the rest of the body is sent.
"""

from __future__ import annotations

import json
import secrets
import socket
import time
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, insert, update

from blobd.registry.catalog.tables import accounts, memberships, package_roles, tokens
from tests.registry.access.conftest import basic
from tests.registry.access.test_rights import given, package, published
from tests.registry.acts import image
from tests.registry.identity.worlds import ACME, token
from tests.registry.protocol import Answer, digest_of, with_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.registry.access.conftest import Client, Town

    Loss = Callable[[Town, "Person", str], None]

LAYER = b"layer"
_WITHIN_S = 60


class Person:
    """Somebody that no other test knows, a member of acme, with a token of every scope."""

    def __init__(self, town: Town) -> None:
        self.name = f"p{secrets.token_hex(5)}"
        self.secret = f"blobd_pat_{self.name}"
        self.account_id = 10_000 + secrets.randbelow(1_000_000_000)
        row = {
            "id": self.account_id,
            "name": self.name,
            "kind": "user",
            "is_administrator": False,
            "created_at": 0.0,
        }
        town.change(
            insert(accounts).values(row),
            insert(memberships).values(
                organisation_id=ACME, account_id=self.account_id, role="member"
            ),
            insert(tokens).values(token(self.name, self.account_id, self.secret)),
        )


def disabled(town: Town, person: Person, _app: str) -> None:
    who = accounts.c.id == person.account_id
    town.change(update(accounts).where(who).values(disabled_at=time.time()))


def revoked(town: Town, person: Person, _app: str) -> None:
    which = tokens.c.id == person.name
    town.change(update(tokens).where(which).values(revoked_at=time.time()))


def demoted(town: Town, person: Person, app: str) -> None:
    town.change(
        update(package_roles)
        .where(
            package_roles.c.grantee_id == person.account_id,
            package_roles.c.repository_id == package(app),
        )
        .values(role="read")
    )


def without_role(town: Town, person: Person, app: str) -> None:
    town.change(
        delete(package_roles).where(
            package_roles.c.grantee_id == person.account_id,
            package_roles.c.repository_id == package(app),
        )
    )


def deleted(town: Town, _person: Person, app: str) -> None:
    answer = town.admin().delete(f"/api/orgs/acme/packages/container/{app.partition('/')[2]}")
    assert answer.status == 204, answer.body


LOSSES = [
    pytest.param(disabled, 401, "UNAUTHORIZED", id="disabled"),
    pytest.param(revoked, 401, "UNAUTHORIZED", id="revoked"),
    pytest.param(demoted, 403, "DENIED", id="demoted"),
    pytest.param(without_role, 404, "NAME_UNKNOWN", id="without-role"),
    pytest.param(deleted, 404, "NAME_UNKNOWN", id="deleted"),
]


@contextmanager
def half_sent(
    client: Client, method: str, path: str, body: bytes, **headers: str
) -> Iterator[Callable[[], Answer]]:
    """Send a request up to the middle of its body, a small one byte by byte.

    Yields what sends the rest and returns the answer.
    """
    host, _, port = client.address.rpartition(":")
    shown = {
        "Host": client.address,
        "X-Forwarded-For": client.comes_from,
        "Expect": "100-continue",
        "Content-Length": str(len(body)),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    if client.credential is not None:
        shown["Authorization"] = client.credential
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in shown.items())]
    with socket.create_connection((host, int(port)), timeout=_WITHIN_S) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        half = len(body) // 2
        step = max(1, half // 500)
        for start in range(0, half, step):
            connection.sendall(body[start : min(start + step, half)])

        def finish() -> Answer:
            connection.sendall(body[half:])
            response = HTTPResponse(connection, method=method)
            response.begin()
            return Answer(response.status, response.headers, response.read())

        yield finish


@pytest.fixture
def person(town: Town, app: str) -> Person:
    """Somebody who may write into the package of this test, which has an image under `latest`."""
    somebody = Person(town)
    town.person("ada").push_image(app)
    town.change(given(app, somebody.account_id, "write"))
    return somebody


def bearer_of(town: Town, person: Person, app: str) -> Client:
    return town.bearer(person.secret, f"repository:{app}:pull,push")


@pytest.mark.parametrize(("loss", "status", "code"), LOSSES)
def test_a_manifest_that_was_long_in_coming_moves_no_tag(
    town: Town, app: str, person: Person, loss: Loss, status: int, code: str
) -> None:
    layer = digest_of(LAYER)
    content = image(layer, layer, annotations={"by": person.name})
    before = town.admin().get(f"/v2/{app}/manifests/latest").headers["Docker-Content-Digest"]
    kind = json.loads(content)["mediaType"]
    client = bearer_of(town, person, app)
    path = f"/v2/{app}/manifests/latest"
    with half_sent(client, "PUT", path, content, Content_Type=kind) as finish:
        loss(town, person, app)
        answer = finish()
    assert (answer.status, answer.codes) == (status, [code]), answer.body
    if status == 401:
        challenge = answer.headers["WWW-Authenticate"]
        assert f'scope="repository:{app}:pull,push"' in challenge
    found = town.admin().get(path)
    if loss is deleted:
        assert found.status == 404
    else:
        assert found.headers["Docker-Content-Digest"] == before
    assert town.admin().get(f"/v2/{app}/manifests/{digest_of(content)}").status == 404


@pytest.mark.parametrize(("loss", "status", "code"), LOSSES)
@pytest.mark.parametrize("size_bytes", [1000, 200_000], ids=["small", "large"])
def test_a_blob_that_was_long_in_coming_is_not_linked(
    town: Town, app: str, person: Person, loss: Loss, status: int, code: str, size_bytes: int
) -> None:
    data = secrets.token_bytes(size_bytes)
    client = bearer_of(town, person, app)
    path = with_digest(client.start(app).location, digest_of(data))
    with half_sent(client, "PUT", path, data) as finish:
        loss(town, person, app)
        answer = finish()
    assert (answer.status, answer.codes) == (status, [code]), answer.body
    assert town.admin().get(f"/v2/{app}/blobs/{digest_of(data)}").status == 404


def test_a_first_push_is_refused_too(town: Town) -> None:
    app, person, data = f"acme/{secrets.token_hex(6)}", Person(town), secrets.token_bytes(1000)
    client = bearer_of(town, person, app)
    path = with_digest(client.start(app).location, digest_of(data))
    with half_sent(client, "PUT", path, data) as finish:
        town.change(delete(memberships).where(memberships.c.account_id == person.account_id))
        answer = finish()
    assert (answer.status, answer.codes) == (404, ["NAME_UNKNOWN"])
    assert town.admin().get(f"/v2/{app}/tags/list").status == 404


def test_an_upload_goes_on_when_its_tokens_run_out_in_the_body(
    town: Town, app: str, person: Person
) -> None:
    data = secrets.token_bytes(1000)
    client = bearer_of(town, person, app)
    path = with_digest(client.start(app).location, digest_of(data))
    late = town.client(
        town.signed(
            f"repository:{app}:pull,push",
            account=person.name,
            token_id=person.name,
            issued_at=time.time() - 600,
            expires_at=time.time() - 300,
        )
    )
    with half_sent(late, "PUT", path, data) as finish:
        which = tokens.c.id == person.name
        town.change(update(tokens).where(which).values(expires_at=time.time() - 1))
        assert finish().status == 201
    assert town.admin().get(f"/v2/{app}/blobs/{digest_of(data)}").body == data


def test_what_is_remembered_of_a_client_deletes_and_mounts_nothing(
    town: Town, app: str, person: Person
) -> None:
    """Within the second for which a credential that was let in is not looked up again."""
    town.change(
        update(package_roles)
        .where(package_roles.c.grantee_id == person.account_id)
        .values(role="admin")
    )
    client = town.client(basic(person.secret))
    layer = digest_of(LAYER)
    assert client.delete(f"/v2/{app}/manifests/never").status == 404
    assert client.start(app).status == 202
    disabled(town, person, app)
    for answer in (
        client.delete(f"/v2/{app}/manifests/latest"),
        client.delete(f"/v2/{app}/blobs/{layer}"),
        client.start(app, f"?mount={layer}"),
    ):
        assert answer.status == 401, answer.body
        assert "the account is disabled" in answer.json()["errors"][0]["message"]
    assert town.admin().get(f"/v2/{app}/manifests/latest").status == 200
    assert town.admin().get(f"/v2/{app}/blobs/{layer}").status == 200


def test_a_push_right_after_a_deletion_makes_a_new_package(town: Town, app: str) -> None:
    ada = town.person("ada")
    ada.push_image(app)
    assert ada.delete(f"/api/orgs/acme/packages/container/{app.partition('/')[2]}").status == 204
    ada.push_image(app)


@pytest.mark.parametrize("loss", [disabled, revoked])
def test_a_call_of_the_api_with_a_long_body_changes_nothing(
    town: Town, app: str, person: Person, loss: Loss
) -> None:
    town.change(published(app))
    town.change(
        update(package_roles)
        .where(package_roles.c.grantee_id == person.account_id)
        .values(role="admin")
    )
    path = f"/api/orgs/acme/packages/container/{app.partition('/')[2]}"
    body = json.dumps({"immutable_tags": True}).encode()
    client = town.client(basic(person.secret))
    with half_sent(client, "PATCH", path, body, Content_Type="application/json") as finish:
        loss(town, person, app)
        assert finish().status == 401
    assert (
        town.admin().put_manifest(app, "latest", image(digest_of(LAYER), digest_of(LAYER))).status
        == 201
    )


def test_a_token_request_with_a_long_body_gets_none(town: Town, person: Person) -> None:
    form = f"grant_type=password&username=x&password={person.secret}".encode()
    kind = "application/x-www-form-urlencoded"
    with half_sent(town.client(), "POST", "/token", form, Content_Type=kind) as finish:
        disabled(town, person, "")
        answer = finish()
    assert answer.status == 401
    assert person.secret.encode() not in answer.body
