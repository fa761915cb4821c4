"""The temporary folder is full: every request is answered all the same, and counted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CLIENTS = 4
_SOON_S = 30
_BLOB_BYTES = 90_000
_CONFIG = b"{}"


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs with little room."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=32", "tmpfs", str(folder)], check=True
    )
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(folder: Path) -> None:
    """Leave room for neither a byte nor another file."""
    with suppress(OSError), open(folder / "filler", "wb", buffering=0) as file:  # noqa: PTH123
        while True:
            file.write(b"x" * 4096)
    with suppress(OSError):
        for number in range(32):
            (folder / str(number)).touch()
    assert not shutil.disk_usage(folder).free
    with pytest.raises(OSError, match="No space left"):
        (folder / "one more").touch()


@dataclass
class _Traffic:
    """Requests of every kind, and what became of them."""

    daemon: Daemon
    pushed_bytes: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    counters: dict[str, float] = field(default_factory=dict)

    def ask(
        self, method: str, url: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body; anything but an answer fails the test."""
        wanted = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data=body, method=method, headers=wanted)
        try:
            with urllib.request.urlopen(request, timeout=_SOON_S) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    def round(self) -> None:
        """Let every client do all it can; look at the metrics."""
        with ThreadPoolExecutor(_CLIENTS) as pool:
            for statuses in pool.map(self._client, range(_CLIENTS)):
                self.answers.update(statuses)
        self.pushed_bytes += _CLIENTS * (2 * _BLOB_BYTES + len(_CONFIG))
        self.check_metrics()

    def check_metrics(self) -> None:
        """No counter has fallen, and the bytes are those that were sent."""
        status, _, body = self.ask("GET", f"{self.daemon.blob_api_url}/metrics")
        assert status == 200
        found = {
            f"{sample.name} {sample.labels}": sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
            if family.type != "gauge"
        }
        fallen = {
            name: (value, found.get(name))
            for name, value in self.counters.items()
            if found.get(name, 0) < value
        }
        assert not fallen
        self.counters = found
        assert found["blobd_received_bytes_total {}"] == self.pushed_bytes
        assert found["blobd_unrecorded_updates_total {}"] == 0

    def _client(self, number: int) -> list[int]:
        api, registry = self.daemon.blob_api_url, self.daemon.registry_url
        repository = f"{registry}/v2/demo/image{number}"
        layer, other, statuses = os.urandom(_BLOB_BYTES), os.urandom(_BLOB_BYTES), []

        def ask(method: str, url: str, body: bytes | None = None, **headers: str) -> str:
            status, answered, _ = self.ask(method, url, body, **headers)
            statuses.append(status)
            where = answered.get("Location", "")
            return where if "://" in where else f"{'/'.join(url.split('/')[:3])}{where}"

        where = ask("POST", f"{api}/uploads")
        ask("PATCH", where, other[:50_000])
        ask("GET", where)
        ask("PUT", f"{where}?digest={_digest(other)}", other[50_000:])
        ask("GET", f"{api}/blobs/{_digest(other)}", Range="bytes=5-80000")
        ask("DELETE", f"{api}/blobs/{_digest(other)}")
        for content in (layer, _CONFIG):
            where = ask("POST", f"{repository}/blobs/uploads/")
            ask("PUT", f"{where}?digest={_digest(content)}", content)
        manifest = _manifest(layer)
        ask("PUT", f"{repository}/manifests/latest", manifest, Content_Type=_MANIFEST)
        for path in (
            "manifests/latest", "tags/list", f"referrers/{_digest(layer)}",
            f"blobs/{_digest(layer)}", "manifests/none", "nothing",
        ):  # fmt: skip
            ask("GET", f"{repository}/{path}")
        ask("DELETE", f"{repository}/manifests/{_digest(manifest)}")
        ask("POST", f"{repository}/tags/list", b"")
        for path in ("v2/_catalog", "packages", "packages/demo", "api/users/demo/packages", "no"):
            ask("GET", f"{registry}/{path}")
        for path in ("readyz", "healthz", "openapi.yaml", "blobs", "uploads"):
            ask("GET", f"{api}/{path}")
        return statuses


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _manifest(layer: bytes) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": _digest(_CONFIG),
                "size": len(_CONFIG),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": _digest(layer),
                    "size": len(layer),
                }
            ],
        }
    ).encode()


def _go_on(data: Path, small_folder: Path, *, lasting_s: float) -> None:
    daemon = Daemon(
        data,
        settings={"server.workers": "2", "store.durability": "none"},
        environment={"TMPDIR": str(small_folder), "SQLITE_TMPDIR": str(small_folder)},
    )
    with daemon:
        _fill(small_folder)
        traffic = _Traffic(daemon)
        traffic.check_metrics()
        until = time.monotonic() + lasting_s
        rounds = 0
        while rounds < 3 or time.monotonic() < until:
            traffic.round()
            rounds += 1
            if rounds % 10 == 2:  # nothing is under way now, and so nothing may be missed
                _, *workers = daemon.pids()
                os.kill(workers[rounds % len(workers)], signal.SIGKILL)
        assert not [status for status in traffic.answers if status >= 500], traffic.answers
        assert traffic.answers[201] == rounds * _CLIENTS * 4
    assert daemon.stderr.count("ended with code -9") == (rounds + 7) // 10
    assert daemon.stderr.count("ended with code") == (rounds + 7) // 10
    with daemon:  # as well as going on
        _Traffic(daemon).round()


@pytest.mark.needs("root", "mount")
def test_a_full_temporary_folder_stops_nothing(tmp_path: Path, small_folder: Path) -> None:
    """Two workers, one of them killed meanwhile: answers to all, and counters that never fall."""
    _go_on(tmp_path / "data", small_folder, lasting_s=0)


@pytest.mark.long
@pytest.mark.needs("root", "mount")
def test_a_full_temporary_folder_stops_nothing_for_minutes(
    tmp_path: Path, small_folder: Path
) -> None:
    _go_on(tmp_path / "data", small_folder, lasting_s=150)


@pytest.mark.needs("root", "mount")
def test_a_store_in_memory_needs_no_temporary_folder_either(
    tmp_path: Path, small_folder: Path
) -> None:
    """Its catalog is as short-lived as it is, and lies elsewhere."""
    daemon = Daemon(
        tmp_path / "data",
        settings={"store.backend": "memory"},
        environment={"TMPDIR": str(small_folder), "SQLITE_TMPDIR": str(small_folder)},
    )
    with daemon:
        _fill(small_folder)
        traffic = _Traffic(daemon)
        traffic.round()
        assert not [status for status in traffic.answers if status >= 500], traffic.answers
