"""`blobd uploads`, `du` and `gc`, on a store with and without its daemon."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import aiohttp

from blobd.client import Client, Digest, Span
from tests.cli.processes import run_blobd
from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MIB = 1024 * 1024
LARGE = 2 * MIB
LONG_AGO = ("--set", "limits.upload_timeout_s=0", "--set", "limits.upload_idle_expiry_s=1")


def told(*arguments: str | Path) -> Any:
    run = run_blobd(*arguments, "--json")
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout)


async def begin_uploads(address: str, sizes_bytes: Iterable[int]) -> list[str]:
    """Leave uploads of these sizes open."""
    ids = []
    async with Client(address) as client:
        for size_bytes in sizes_bytes:
            upload_id = await client.requests.begin()
            assert upload_id is not None
            await client.requests.append(upload_id, Span(0, size_bytes), os.urandom(size_bytes))
            ids.append(upload_id)
    return ids


async def push_and_delete(address: str, kept: bytes, deleted: bytes) -> None:
    async with Client(address) as client:
        await client.push(kept)
        blob = await client.push(deleted)
        await client.delete(blob.digest)


async def push_to_registry(registry_url: str, data: bytes) -> str:
    """Store a layer in a repository, with no manifest that names it."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    url = f"{registry_url}/v2/demo/image/blobs/uploads/"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, params={"digest": digest}, data=data) as answer,
    ):
        assert answer.status == 201
    return digest


def test_uploads_are_listed_and_removed_beside_the_daemon(tmp_path: Path) -> None:
    """Promise 5 seen by an operator: the bytes that an upload would go on from."""
    with Daemon(tmp_path / "data") as daemon:
        first, second = asyncio.run(begin_uploads(daemon.blob_api_url, [1000, 2000]))
        listed = told("uploads", "ls", "--data", daemon.data)
        assert [(upload["upload_id"], upload["offset"]) for upload in listed] == [
            (first, 1000),
            (second, 2000),
        ]
        shown = run_blobd("uploads", "ls", "--data", daemon.data).stdout.decode()
        assert first in shown
        assert "blob-api" in shown
        removed = run_blobd("uploads", "rm", first, "--data", daemon.data)
        assert (removed.returncode, removed.stdout.decode()) == (0, f"removed {first}\n")
        assert [upload["upload_id"] for upload in told("uploads", "ls", "--data", daemon.data)] == [
            second
        ]
        again = run_blobd("uploads", "rm", first, "--data", daemon.data)
        assert again.returncode == 1
        assert first in again.stderr.decode()


def test_expire_removes_what_is_abandoned_and_nothing_else(tmp_path: Path) -> None:
    """The daemon's own rule, on demand."""
    with Daemon(tmp_path / "data") as daemon:
        (upload_id,) = asyncio.run(begin_uploads(daemon.blob_api_url, [1000]))
    assert told("uploads", "expire", "--data", daemon.data) == []
    record = next(path for path in (daemon.data / "uploads").rglob("*") if path.is_file())
    assert record.exists()
    assert _expire_until_gone(daemon) == [upload_id]
    assert told("uploads", "ls", "--data", daemon.data) == []


def _expire_until_gone(daemon: Daemon) -> list[str]:
    """Ask again and again until the second of idle time has passed by itself."""
    while True:
        ended: list[str] = told("uploads", "expire", "--data", daemon.data, *LONG_AGO)
        if ended:
            return ended


def test_du_tells_stored_from_held(tmp_path: Path) -> None:
    """What is stored, what is staged, and that nothing is unaccounted for."""
    with Daemon(tmp_path / "data") as daemon:
        asyncio.run(push_and_delete(daemon.blob_api_url, b"k" * LARGE, b"d" * 1000))
        asyncio.run(begin_uploads(daemon.blob_api_url, [3000]))
        assert told("du", "--data", daemon.data) == {
            "blobs": 1,
            "stored_bytes": LARGE,
            "uploads": 1,
            "staged_bytes": 3000,
            "holds": 1,
            "logical_bytes": LARGE,
            "saved_bytes": 0,
            "unheld_bytes": 0,
        }
        shown = run_blobd("du", "--data", daemon.data).stdout.decode()
        assert "2.0 MiB" in shown


def test_gc_leaves_alone_what_is_held(tmp_path: Path) -> None:
    """Promise 11: a held blob is not even a candidate."""
    with Daemon(tmp_path / "data") as daemon:
        asyncio.run(push_and_delete(daemon.blob_api_url, b"k" * LARGE, b"d" * 1000))
    assert told("gc", "--data", daemon.data, "--dry-run") == []
    (verdict,) = told("gc", "--data", daemon.data, "--dry-run", "--all")
    assert verdict == {
        "digest": f"sha256:{hashlib.sha256(b'k' * LARGE).hexdigest()}",
        "size_bytes": LARGE,
        "goes": False,
        "reasons": ["held by the blob API"],
    }
    assert run_blobd("gc", "--data", daemon.data).stdout.decode().endswith("removed, 0 B\n")
    assert told("du", "--data", daemon.data)["blobs"] == 1


def test_gc_says_why_a_blob_goes_and_then_removes_it(tmp_path: Path) -> None:
    """Promise 11: a push that no manifest names goes when its grace is over, and not before."""
    with Daemon(tmp_path / "data") as daemon:
        digest = asyncio.run(push_to_registry(daemon.registry_url, b"layer"))
        assert told("gc", "--data", daemon.data) == []
        lapsed = ("--set", "upkeep.unnamed_link_grace_s=0")
        (verdict,) = told("gc", "--data", daemon.data, "--dry-run", *lapsed)
        assert (verdict["digest"], verdict["goes"]) == (digest, True)
        assert "demo/image" in verdict["reasons"][0]
        assert told("du", "--data", daemon.data)["blobs"] == 1
        shown = run_blobd("gc", "--data", daemon.data, *lapsed).stdout.decode()
        assert digest in shown
        assert shown.endswith("1 of 1 candidates removed, 5 B\n")
        assert told("du", "--data", daemon.data)["blobs"] == 0


def test_a_misspelt_folder_is_not_an_empty_store(tmp_path: Path) -> None:
    """Nothing is made by looking; exit code 2."""
    for command in (("uploads", "ls"), ("du",), ("gc",)):
        run = run_blobd(*command, "--data", tmp_path / "dtaa")
        assert run.returncode == 2
        assert b"there is no such folder" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_digests_print_as_they_parse() -> None:
    """What `gc --json` prints can be given to `pull`."""
    text = f"sha256:{'a' * 64}"
    assert str(Digest.parse(text)) == text
