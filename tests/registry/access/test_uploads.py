"""An upload outlives the token it began with, and is nobody else's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import insert, update

from blobd.registry.catalog.tables import tokens
from tests.daemon import Daemon
from tests.registry.access.conftest import Client, basic
from tests.registry.identity.worlds import ADA, token
from tests.registry.protocol import digest_of, with_digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.access.conftest import Town
    from tests.registry.protocol import Registry

_SOON_S = 60
DATA = b"0123456789" * 1000


def test_a_push_goes_on_when_its_token_runs_out_between_patch_and_put(town: Town, app: str) -> None:
    expired = town.signed(
        f"repository:{app}:pull,push", issued_at=time.time() - 600, expires_at=time.time() - 300
    )
    fresh = town.bearer("blobd_pat_ada", f"repository:{app}:pull,push")
    location = fresh.start(app).location
    late = town.client(expired)
    answer = late.send("PATCH", location, DATA)
    assert (answer.status, answer.headers["Range"]) == (202, f"0-{len(DATA) - 1}")
    assert town.client().get(answer.location).status == 204
    answer = late.send("PUT", with_digest(answer.location, digest_of(DATA)))
    assert answer.status == 201
    # for anything else the token is as over as it was
    assert late.get(f"/v2/{app}/blobs/{digest_of(DATA)}").status == 401


def test_without_its_secret_a_session_is_closed_to_who_shows_nothing(town: Town, app: str) -> None:
    location = town.person("ada").start(app).location
    bare, (secret,) = urlsplit(location).path, parse_qs(urlsplit(location).query)["secret"]
    nobody = town.client()
    token_id, _, code = secret.partition(".")
    for wrong in ("", f"?secret=bob.{code}", f"?secret={token_id}.{code[::-1]}", "?secret=%ff"):
        assert nobody.send("PATCH", f"{bare}{wrong}", b"x").status == 401
        assert nobody.get(f"{bare}{wrong}").status == 401
        assert nobody.delete(f"{bare}{wrong}").status == 401
    other = town.person("ada").start(app).location
    assert nobody.get(f"{urlsplit(other).path}?secret={secret}").status == 401
    assert nobody.delete(location).status == 204


def test_a_session_is_never_somebody_elses(town: Town, app: str) -> None:
    location = town.person("ada").start(app).location
    for other in (town.admin(), town.person("bob")):
        assert other.send("PATCH", location, b"x").status == 404
        assert other.get(location).status == 404
        assert other.delete(location).status == 404
    assert town.person("gone").get(location).status == 401
    assert town.client(basic("wrong")).get(location).status == 401
    assert town.person("ada").get(location).status == 204


def test_an_upload_ends_with_its_token_revoked(town: Town, app: str) -> None:
    token_id = f"r{app[-8:]}"
    secret = f"blobd_pat_{token_id}"
    town.change(insert(tokens).values(token(token_id, ADA, secret)))
    location = town.client(basic(secret)).start(app).location
    assert town.client().get(location).status == 204
    town.change(update(tokens).where(tokens.c.id == token_id).values(revoked_at=time.time()))
    answer = town.client().send("PATCH", location, b"x")
    assert answer.status == 401
    assert "was revoked" in answer.json()["errors"][0]["message"]


def test_the_log_does_not_have_the_secret(town: Town, app: str) -> None:
    location = town.person("ada").start(app).location
    (secret,) = parse_qs(urlsplit(location).query)["secret"]
    assert town.client().get(location).status == 204
    log = town.daemon.log()
    assert urlsplit(location).path in log
    assert secret not in log
    assert secret.partition(".")[2] not in log


def _opens_nothing(client: Registry, location: str, data: bytes) -> bool:
    """Return whether a session's URL does nothing any more; its path alone never did."""
    answers = (
        client.send("PATCH", location, b"more"),
        client.get(location),
        client.delete(location),
        client.send("PUT", with_digest(location, digest_of(data + b"more")), b"more"),
    )
    return {answer.status for answer in answers} <= {401, 404}


def test_a_secret_is_worth_nothing_after_commit_and_cancel(town: Town, app: str) -> None:
    """Whoever finds the URL in a proxy's log cannot change, read or end anything with it."""
    ada, nobody = town.person("ada"), town.client()
    first = ada.start(app).location
    patched = nobody.send("PATCH", first, DATA).location
    assert nobody.send("PUT", with_digest(patched, digest_of(DATA))).status == 201
    for location in (first, patched):
        assert _opens_nothing(nobody, location, DATA)
    blob = f"/v2/{app}/blobs/{digest_of(DATA)}"
    secret = urlsplit(first).query
    assert nobody.get(f"{blob}?{secret}").status == 401
    assert ada.get(blob).body == DATA
    cancelled = ada.start(app).location
    assert nobody.send("PATCH", cancelled, DATA).status == 202
    assert nobody.delete(cancelled).status == 204
    assert _opens_nothing(nobody, cancelled, DATA)


def test_a_secret_is_worth_nothing_after_expiry(tmp_path: Path) -> None:
    settings = {
        "registry.auth": "true",
        "limits.upload_idle_expiry_s": "1",
        "upkeep.expire_interval_s": "0.2",
    }
    with Daemon(tmp_path / "data", settings=settings) as daemon:
        assert daemon.first_token is not None
        admin = Client(daemon.registry, basic(daemon.first_token))
        location = admin.start("admin/app").location
        nobody = Client(daemon.registry, None)
        assert nobody.send("PATCH", location, DATA).status == 202
        until = time.monotonic() + _SOON_S
        while nobody.get(location).status == 204:
            assert time.monotonic() < until, "the session never expires"
            time.sleep(0.5)
        assert _opens_nothing(nobody, location, DATA)
