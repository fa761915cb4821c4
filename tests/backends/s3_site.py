"""A bucket as a place where a backend keeps its bytes, seen through boto3 alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from blobd import config as configuration
from blobd.backends.s3.backend import S3
from blobd.config import Config, Limits, Store
from blobd.digest import Digest
from blobd.metrics import Metrics
from blobd.quota import Account
from tests.backends.sites import Site

if TYPE_CHECKING:
    import pytest

    from blobd.backends.base import Backend
    from tests.engines.s3 import Bucket

KIB = 1024
PREFIX = "below/"


def config_of(bucket: Bucket, **settings: object) -> Config:
    """Return a configuration for a bucket: small parts, no redirects, little patience."""
    s3 = configuration.S3(
        endpoint_url=bucket.access.endpoint_url,
        region=bucket.access.region,
        bucket=bucket.name,
        prefix=PREFIX,
        path_style=True,
        access_key_id=bucket.access.access_key_id,
        secret_access_key=bucket.access.secret_access_key,
        part_size_bytes=64 * KIB,
        redirect=False,
        retry_budget_s=2,
        read_timeout_s=20,
    )
    return Config(
        store=Store(backend="s3"),
        s3=replace(s3, **settings),  # type: ignore[arg-type]
        limits=Limits(max_blob_bytes=50_000_000),
    )


class S3Site(Site):
    """A bucket, all of it below a prefix."""

    def __init__(self, bucket: Bucket, **settings: object) -> None:
        self.bucket = bucket
        self.config = config_of(bucket, **settings)
        self.appends_wait = self.config.s3.part_size_bytes <= 64 * KIB
        self._opened: list[S3] = []

    def open(self) -> Backend:
        backend = S3(self.config, Metrics(), Account(self.config.parts_max_bytes).share())
        self._opened.append(backend)
        return backend

    def shorten_takeover(self, patch: pytest.MonkeyPatch, wait_s: float) -> None:
        for backend in self._opened:
            patch.setattr(backend._locks, "wait_s", wait_s)

    def peek_blob(self, digest: Digest) -> bytes | None:
        record = self.bucket.read(self._index(digest))
        if record is None:
            return None
        return b"".join(
            (self.bucket.read(PREFIX + key) or b"")[:size_bytes]
            for key, size_bytes, _ in json.loads(record)["segments"]
        )

    def plant_blob(self, digest: Digest, data: bytes) -> None:
        key = f"objects/planted-{digest.encoded[:8]}"
        self.bucket.write(PREFIX + key, data)
        record = {"segments": [[key, len(data), True]], "stored_at": 0.0}
        self.bucket.write(self._index(digest), json.dumps(record).encode())

    def clear(self) -> None:
        self.bucket.clear()

    def peek_blobs(self) -> set[Digest]:
        keys = [key.split("/") for key in self.bucket.keys(f"{PREFIX}index/")]
        return {Digest(key[-3], key[-1]) for key in keys}

    def peek_uploads(self) -> set[str]:
        return {key.split("/")[2] for key in self.bucket.keys(f"{PREFIX}uploads/")}

    def leftovers(self) -> list[str]:
        """Return objects that no record, no session and no note of removal explains."""
        uploads = self.peek_uploads()
        doomed = {key.rpartition("/")[2] for key in self.bucket.keys(f"{PREFIX}doomed/")}
        named = {
            key
            for digest in self.peek_blobs()
            for key, _, _ in json.loads(self.bucket.read(self._index(digest)) or b"")["segments"]
        }
        left = []
        for key in self.bucket.keys(""):
            room, _, name = key.removeprefix(PREFIX).partition("/")
            if room in ("index", "uploads", "doomed", "store.id"):
                continue
            is_known = key.removeprefix(PREFIX) in named or name in doomed
            if room != "objects" or not (is_known or name.partition("-")[0] in uploads):
                left.append(key)
        for key, _ in self.bucket.multipart_uploads():
            if key.rpartition("/")[2].partition("-")[0] not in uploads:
                left.append(f"multipart {key}")
        return left

    def _index(self, digest: Digest) -> str:
        return f"{PREFIX}index/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}"
