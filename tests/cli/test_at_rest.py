"""What lies on disk is open to blobd's user alone, whatever the umask and whatever was there."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import run_blobd
from tests.daemon import Daemon
from tests.registry.protocol import OCTETS, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REPAIRED = "permissions repaired"


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _daemon(data: Path, **settings: str) -> Daemon:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return Daemon(data, settings={"registry.auth": "true", "server.workers": "2", **named})


def _fill(daemon: Daemon) -> None:
    """Commit a blob, and leave an upload half-way."""
    assert daemon.first_token is not None
    api = Registry(daemon.blob_api_url.removeprefix("http://"))
    content = os.urandom(100_000)
    where = api.send("POST", "/uploads").location
    digest = hashlib.sha256(content).hexdigest()
    assert api.send("PUT", f"{where}?digest=sha256:{digest}", content, OCTETS).status == 201
    where = api.send("POST", "/uploads").location
    assert api.send("PATCH", where, content, OCTETS).status == 202


def _modes(data: Path) -> dict[str, int]:
    """Return the mode of the folder and of all in it, by path."""
    found = [data, *data.rglob("*")]
    return {
        str(path.relative_to(data)): stat.S_IMODE(path.lstat().st_mode)
        for path in found
        if not path.is_symlink()
    }


def _open_to_others(data: Path) -> dict[str, str]:
    return {path: oct(mode) for path, mode in _modes(data).items() if mode & 0o077}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_all_that_is_made_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    data = tmp_path / "data"
    with _umask(mask), _daemon(data) as daemon:
        _fill(daemon)
        assert not _open_to_others(data)
        names = {path.rpartition("/")[2] for path in _modes(data)}
        assert {"catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"} <= names
        assert {"catalog.sqlite.lock", "signing.key", "blobs", "uploads"} <= names
        assert _REPAIRED not in daemon.log()
    with _umask(mask):
        assert run_blobd("user", "add", "ada", "--data", data).returncode == 0
    assert not _open_to_others(data)


def test_what_was_open_is_closed_at_the_start_with_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    daemon = _daemon(data)
    with daemon:
        _fill(daemon)
    for path in [data, *data.rglob("*")]:
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    (data / "notes").mkdir()
    (data / "notes").chmod(0o755)
    checked = run_blobd("check-config", "--data", data)
    assert checked.returncode == 0
    assert f"{data} has mode 0755 instead of 0700" in checked.stderr.decode()
    with daemon:
        assert _open_to_others(data) == {"notes": "0o755"}, "somebody else's is left alone"
        assert daemon.log().count(_REPAIRED) == 1
        _fill(daemon)
    with daemon:
        assert _REPAIRED not in daemon.log()
    assert run_blobd("check-config", "--data", data).stderr == b""


def test_a_setting_lets_the_group_read_but_not_the_key(tmp_path: Path) -> None:
    data = tmp_path / "data"
    daemon = _daemon(data)
    with daemon:
        _fill(daemon)
    with _umask(0o077), _daemon(data, store__group_access="true") as shared:
        shared.first_token = daemon.first_token
        _fill(shared)
        modes = _modes(data)
    assert modes.pop("signing.key") == 0o600
    folders = {mode for path, mode in modes.items() if (data / path).is_dir()}
    assert folders == {0o750}
    assert {mode for path, mode in modes.items() if (data / path).is_file()} == {0o640, 0o440}
    with daemon:
        assert not _open_to_others(data)


def test_a_folder_that_is_shared_by_intent_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o1777)
    with _daemon(data) as daemon:
        _fill(daemon)
        assert _open_to_others(data) == {".": "0o1777"}
