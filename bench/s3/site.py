"""An S3 engine, a bucket in it, and what keeps its bytes there."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench import processes
from bench.plan import GIB, MIB
from bench.s3.boto import Errand
from bench.servers import running_blobd, running_docker_registry, which
from tests.engines import ceph, swift
from tests.engines.ceph import Ceph
from tests.engines.swift import Swift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from bench.plan import Plan
    from bench.servers import Server
    from tests.engines.s3 import Bucket, S3Engine

PART_BYTES = 8 * MIB
PARTS_IN_FLIGHT = 4
_STORE_BYTES = 16 * GIB
_SETTLED_CPU_S = 0.05
_SETTLE_WITHIN_S = 60.0
_NO_JOBS = {f"upkeep.{job}_interval_s": "0" for job in ("expire", "gc", "sweep")}


@dataclass(frozen=True, slots=True)
class Site:
    """A bucket for blobd and boto3, and one for docker-registry; emptied between measurements."""

    engine: S3Engine
    bucket: Bucket
    registry_bucket: Bucket
    folder: Path

    def blobd(self, *, endpoint_url: str | None = None) -> AbstractContextManager[Server]:
        """Run blobd on the bucket, streaming; through another endpoint if one is given."""
        settings = {
            **self.bucket.settings(endpoint_url=endpoint_url),
            **_NO_JOBS,
            "s3.redirect": "false",
            "s3.part_size_bytes": str(PART_BYTES),
            "s3.parts_in_flight": str(PARTS_IN_FLIGHT),
        }
        return running_blobd(self.folder / "blobd", workers=1, settings=settings)

    def docker_registry(self) -> AbstractContextManager[Server]:
        """Run docker-registry with its S3 driver and parts of the same size."""
        access = self.registry_bucket.access
        storage = (
            f"s3: {{accesskey: '{access.access_key_id}', secretkey: '{access.secret_access_key}', "
            f"region: {access.region}, regionendpoint: '{access.endpoint_url}', secure: false, "
            f"bucket: {self.registry_bucket.name}, chunksize: {PART_BYTES}}}"
        )
        return running_docker_registry(self.folder / "docker-registry", storage=storage)

    def errand(self, act: str, key: str, source: Path, *, signed: bool = True) -> Errand:
        """Return an order to boto3, with the parts that blobd makes."""
        access = self.bucket.access
        return Errand(
            act=act,
            endpoint_url=access.endpoint_url,
            access_key_id=access.access_key_id,
            secret_access_key=access.secret_access_key,
            region=access.region,
            bucket=self.bucket.name,
            key=key,
            source=str(source),
            part_bytes=PART_BYTES,
            concurrency=PARTS_IN_FLIGHT,
            signs_bodies=signed,
        )

    def engine_cpu_s(self) -> float:
        """Return the CPU that the engine's processes have used."""
        return sum(processes.cpu_s(process.pid) for process in self.engine.processes)

    def warm(self, size_bytes: int) -> None:
        """Let the engine's memory grow for so much and half as much again, before it is measured.

        A memory store that takes fresh pages from the kernel runs at half its speed, and the last
        bytes of the largest upload would be those that need them.
        """
        content = os.urandom(PART_BYTES)
        for number in range(size_bytes * 3 // 2 // PART_BYTES):
            self.bucket.write(f"warm/{number}", content)
        self.settle()

    def settle(self) -> None:
        """Empty the buckets, and wait until the engine has nothing to do any more."""
        self.bucket.clear()
        self.registry_bucket.clear()
        self.engine.collect()
        deadline_s = time.monotonic() + _SETTLE_WITHIN_S
        before_s = self.engine_cpu_s()
        while time.monotonic() < deadline_s:
            time.sleep(0.5)
            now_s = self.engine_cpu_s()
            if now_s - before_s < _SETTLED_CPU_S:
                return
            before_s = now_s


def engine_of(plan: Plan) -> Callable[[], S3Engine] | None:
    """Return the engine that was asked for, or the first that is installed; None without one."""
    is_here = {
        "ceph": all(map(which, ceph.PROGRAMS)),
        "swift": all(map(which, swift.PROGRAMS)) and Path("/etc/swift/swift.conf").exists(),
    }
    makers: dict[str, Callable[[], S3Engine]] = {
        "ceph": partial(Ceph, store="memstore", store_bytes=_STORE_BYTES),
        "swift": partial(Swift, workers=os.cpu_count() or 1),
    }
    names = [plan.engine] if plan.engine else [name for name in makers if is_here[name]]
    return makers[names[0]] if names else None


@contextmanager
def running_site(engine: Callable[[], S3Engine], folder: Path) -> Iterator[Site]:
    """Run an engine with two empty buckets; what it stored goes at the end."""
    folder.mkdir()
    try:
        with engine() as running:
            yield Site(running, running.make_bucket(), running.make_bucket(), folder)
    finally:
        shutil.rmtree(folder)
