"""What cannot work is said at the start, in one line; what the engine can do is logged."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.engines.every import DURABLE, EVERY, MOTO

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.s3 import Bucket, S3Engine
    from tests.s3.conftest import Replica


def serve(folder: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "blobd", "serve", f"--data={folder}"),
            "--listen=127.0.0.1:0",
            "--blob-api=127.0.0.1:0",
            *(f"--set={name}={value}" for name, value in settings.items()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(folder: Path, settings: dict[str, str]) -> str:
    """Return the one line with which the daemon did not start."""
    ended = serve(folder, {"server.workers": "1", "s3.retry_budget_s": "0", **settings})
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_a_bucket_that_is_not_there_is_named(bucket: Bucket, tmp_path: Path) -> None:
    """Issue: no bucket."""
    line = refused(tmp_path, {**bucket.settings(), "s3.bucket": "not-there"})
    assert "s3.bucket = 'not-there'" in line
    assert "no such bucket" in line


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
@pytest.mark.parametrize("setting", ["s3.access_key_id", "s3.secret_access_key"])
def test_wrong_credentials_are_told(bucket: Bucket, tmp_path: Path, setting: str) -> None:
    """Issue: no permission; the secret itself is not told."""
    wrong = "wrongwrong"
    line = refused(tmp_path, {**bucket.settings(), setting: wrong})
    assert "s3." in line
    assert bucket.access.secret_access_key not in line


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_an_engine_that_is_not_there_is_told(
    engine: S3Engine, bucket: Bucket, tmp_path: Path
) -> None:
    """Issue: a clear line, with where it was looked for."""
    del engine
    settings = {**bucket.settings(endpoint_url="http://127.0.0.1:9"), "s3.connect_timeout_s": "1"}
    assert "http://127.0.0.1:9" in refused(tmp_path, settings)


def test_a_bucket_must_be_named(tmp_path: Path) -> None:
    """The setting that is missing, not an error of a library."""
    assert refused(tmp_path, {"store.backend": "s3"}).startswith("blobd: s3.bucket = ''")


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_how_many_parts_the_engine_takes_is_logged(replica: Replica, engine: S3Engine) -> None:
    """Issue: Swift ships with 1,000; parts are so large then that the largest blob fits."""
    limit_bytes = "10000000000"
    with replica(s3__part_size_bytes="8388608", limits__max_blob_bytes=limit_bytes) as served:
        log = served.daemon.log()
    most_parts = 1_000 if engine.name == "swift" else 10_000
    assert f"multipart uploads work, of {most_parts} parts" in log
    assert ("parts are 11141120 bytes" in log) is (engine.name == "swift")
