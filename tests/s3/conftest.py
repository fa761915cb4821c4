"""A daemon on a bucket, with a relay on the way to the engine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.api.served import Served
from tests.daemon import Daemon
from tests.relay.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.engines.s3 import Bucket

    Replica = Callable[..., AbstractContextManager[Served]]

MIB = 1024 * 1024
PART_BYTES = 5 * MIB


@pytest.fixture
def relay(bucket: Bucket) -> Iterator[Relay]:
    with Relay(bucket.access.endpoint_url.removeprefix("http://")) as relay:
        yield relay


@pytest.fixture
def replica(bucket: Bucket, tmp_path: Path) -> Replica:
    """Start a daemon on the bucket, through a relay if one is given; all share one catalog."""

    @contextmanager
    def start(relay: Relay | None = None, **settings: str) -> Iterator[Served]:
        chosen = {
            **bucket.settings(endpoint_url=None if relay is None else relay.url),
            "s3.part_size_bytes": str(PART_BYTES),
            "s3.redirect": "false",
            "s3.read_timeout_s": "5",
            "limits.max_blob_bytes": "1000000000",  # fits into as few parts as any engine takes
            "upkeep.expire_interval_s": "0",
            "upkeep.sweep_interval_s": "0",  # moto says that every multipart upload is very old
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        with Daemon(tmp_path / "data", settings=chosen) as daemon:
            yield Served(daemon)

    return start


@pytest.fixture
def served(replica: Replica, relay: Relay) -> Iterator[Served]:
    with replica(relay) as served:
        relay.forget()
        yield served
