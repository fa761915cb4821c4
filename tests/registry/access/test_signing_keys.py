"""Where the secret of the signing keys is, over starts of a real daemon on both databases."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import run_blobd
from tests.daemon import Daemon
from tests.registry.access.conftest import basic
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from pathlib import Path

_SECRET, _OTHER = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def _bearer(daemon: Daemon) -> str:
    assert daemon.first_token is not None
    answer = Registry(daemon.registry).get("/token", Authorization=basic(daemon.first_token))
    assert answer.status == 200
    return f"Bearer {answer.json()['token']}"


def _counts(daemon: Daemon, credential: str) -> bool:
    return Registry(daemon.registry).get("/v2/", Authorization=credential).status == 200


def test_sqlite_keeps_the_secret_in_a_file_of_its_own(tmp_path: Path) -> None:
    """Keys of before are sealed at the next start, and what they signed counts on."""
    data = tmp_path / "data"
    daemon = Daemon(data, settings={"registry.auth": "true", "server.workers": "2"})
    with daemon:
        bearer = _bearer(daemon)
    secret = (data / "signing.key").read_text()
    assert re.fullmatch(r"[0-9a-f]{64}\n", secret)
    with closing(sqlite3.connect(data / "catalog.sqlite")) as connection:
        [(kid, sealed)] = connection.execute("SELECT kid, private FROM signing_keys").fetchall()
    assert len(sealed) == 61
    with daemon:
        assert _counts(daemon, bearer), "a restart logs nobody out"
        assert run_blobd("key", "rotate", "--data", data).returncode == 0
        assert _counts(daemon, bearer)
        assert _counts(daemon, _bearer(daemon))
    (data / "signing.key").unlink()
    with daemon:
        assert "secret of the signing keys is lost" in daemon.log()
        assert not _counts(daemon, bearer)
        assert _counts(daemon, _bearer(daemon)), "passwords stay good"
    listed = run_blobd("key", "ls", "--json", "--data", data)
    assert kid not in listed.stdout.decode()


def test_sqlite_with_the_setting_needs_no_file_any_more(tmp_path: Path) -> None:
    data = tmp_path / "data"
    settings = {"registry.auth": "true"}
    with Daemon(data, settings=settings) as daemon:
        bearer, first_token = _bearer(daemon), daemon.first_token
    settings["registry.signing_key_secret"] = _SECRET
    with Daemon(data, settings=settings) as daemon:
        assert _counts(daemon, bearer)
    (data / "signing.key").unlink()
    with Daemon(data, settings=settings) as daemon:
        daemon.first_token = first_token
        assert _counts(daemon, bearer)
        assert _counts(daemon, _bearer(daemon))
    assert not (data / "signing.key").exists()


@pytest.mark.needs("postgres")
def test_postgresql_keeps_keys_sealed_with_the_setting(tmp_path: Path, database: str) -> None:
    data = tmp_path / "data"
    settings = {"registry.auth": "true", "catalog.url": database}
    options = ("--data", data, "--set", f"catalog.url={database}")
    with Daemon(data, settings=settings) as daemon:
        bearer, first_token = _bearer(daemon), daemon.first_token
        assert daemon.log().count("not encrypted in the database") == 1
    assert b"not encrypted in the database" in run_blobd("check-config", *options).stderr
    secret = ("--set", f"registry.signing_key_secret={_SECRET}")
    assert run_blobd("check-config", *options, *secret).stderr == b""
    settings["registry.signing_key_secret"] = _SECRET
    with Daemon(data, settings=settings) as daemon:
        assert _counts(daemon, bearer)
        assert "not encrypted" not in daemon.log()
    other = ("--set", f"registry.signing_key_secret={_OTHER}")
    listen = ("--listen", "127.0.0.1:0", "--blob-api", "127.0.0.1:0")
    refused = run_blobd("serve", *options, *other, *listen)
    assert refused.returncode == 2
    [line] = [each for each in refused.stderr.decode().splitlines() if "blobd:" in each]
    assert "opens none of the signing keys" in line
    assert "blobd key rotate" in line
    assert _OTHER not in refused.stderr.decode()
    assert run_blobd("key", "rotate", *options, *other).returncode == 0
    settings["registry.signing_key_secret"] = _OTHER
    with Daemon(data, settings=settings) as daemon:
        daemon.first_token = first_token
        assert not _counts(daemon, bearer)
        assert _counts(daemon, _bearer(daemon))


def test_a_secret_that_could_be_guessed_is_refused() -> None:
    run = run_blobd(
        "serve", "--set", "store.backend=memory", "--set", "registry.signing_key_secret=hunter2"
    )
    assert run.returncode == 2
    assert b"at least 32 random characters" in run.stderr
    assert b"hunter2" not in run.stderr


@pytest.mark.needs("postgres")
def test_what_a_command_on_postgresql_refuses_is_one_line(tmp_path: Path, database: str) -> None:
    run = run_blobd(
        *("token", "create", "--user", "nobody", "--scope", "read:packages"),
        *("--data", tmp_path, "--set", "store.path=" + str(tmp_path)),
        *("--set", f"catalog.url={database}"),
    )
    assert run.returncode == 1
    [line] = run.stderr.decode().splitlines()
    assert line.startswith("blobd: ")
    assert "nobody" in line
