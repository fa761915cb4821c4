"""Daemons with different settings on one folder, and on one bucket with PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.engines.every import needs_postgres
from tests.engines.moto import Moto
from tests.registry.protocol import Registry, digest_of, with_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_WITHIN_S = 60
_BUSY = {"upkeep.expire_interval_s": "0.2", "upkeep.gc_interval_s": "0.2"}
_HASTY = {
    **_BUSY,
    "limits.upload_idle_expiry_s": "1",
    "upkeep.unnamed_link_grace_s": "1",
    "limits.upload_timeout_s": "600",
}


@pytest.fixture(params=["folder", pytest.param("bucket", marks=needs_postgres)])
def shared(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """Where two daemons have everything in common, and how they are told so."""
    settings = {"store.durability": "none"}
    if request.param == "folder":
        yield tmp_path / "data", settings
        return
    bucket = request.getfixturevalue("engines").get(Moto).make_bucket()
    url = request.getfixturevalue("postgres").create_database()
    # moto says that every multipart upload is very old
    settings |= {**bucket.settings(), "catalog.url": url, "upkeep.sweep_interval_s": "0"}
    settings["s3.redirect"] = "false"
    yield tmp_path / "data", settings
    bucket.clear()


def until(what: str, daemon: Daemon) -> None:
    end = time.monotonic() + _WITHIN_S
    while what not in daemon.log():
        assert time.monotonic() < end, f"no {what!r} in\n{daemon.log()}"
        time.sleep(0.1)


@contextmanager
def two(
    shared: tuple[Path, Mapping[str, str]], one: Mapping[str, str], other: Mapping[str, str]
) -> Iterator[tuple[Daemon, Daemon]]:
    data, common = shared
    with (
        Daemon(data, settings={**common, **one}) as first,
        Daemon(data, settings={**common, **other}) as second,
    ):
        yield first, second


def test_the_longer_grace_counts_in_both(shared: tuple[Path, Mapping[str, str]], name: str) -> None:
    with two(shared, _HASTY, _BUSY) as (hasty, patient):
        until("limits.upload_idle_expiry_s is 1.0 here and 86400", hasty)
        until("limits.upload_idle_expiry_s is 86400", patient)
        assert "the longest counts in both" in patient.log()
        registry = Registry(patient.registry)
        blob = registry.push(name, b"unnamed")
        session = registry.send("PATCH", registry.start(name).location, b"half").location
        time.sleep(4)
        assert registry.get(f"/v2/{name}/blobs/{blob}").body == b"unnamed"
        data = b"half and half"
        answer = registry.send("PUT", with_digest(session, digest_of(data)), b" and half")
        assert answer.status == 201, answer.body
        patient.stop()
        until("blob collected", hasty)  # nobody else is there any more
        assert hasty.log().count("limits.upload_idle_expiry_s is 1.0 here") == 1


def test_limits_that_differ_are_told(shared: tuple[Path, Mapping[str, str]]) -> None:
    with two(shared, {"limits.max_blob_bytes": "1000"}, {}) as (_, other):
        until("limits.max_blob_bytes is", other)
        assert "and 1000 in the daemon on" in other.log()
        assert "each keeps to its own" in other.log()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_who_is_alone_restarts_with_other_settings_without_a_word(
    shared: tuple[Path, Mapping[str, str]], name: str, how: str
) -> None:
    data, common = shared
    with Daemon(data, settings=common) as before:
        Registry(before.registry).push(name, b"unnamed")
        getattr(before, how)()
    with Daemon(data, settings={**common, **_HASTY}) as after:
        until("blob collected", after)
        assert "set both alike" not in after.log()


@needs_postgres
def test_blobs_elsewhere_are_refused(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue("postgres").create_database()
    common = {"store.durability": "none", "catalog.url": url}
    with Daemon(tmp_path / "one", settings=common):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "blobd", "serve", f"--data={tmp_path / 'other'}"),
                *("--listen=127.0.0.1:0", "--blob-api=127.0.0.1:0", "--set=server.workers=1"),
                *("--set=registry.auth=false", "--set=store.backend=memory"),
                f"--set=catalog.url={url}",
            ],
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
    assert done.returncode != 0
    assert "store.backend = 'memory'" in done.stderr
    assert "uses this catalog with 'filesystem'" in done.stderr
    assert "Traceback" not in done.stderr
