"""Every backend and every wrapper passes the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.backends.wrappers import Faulty, Metered
from blobd.metrics import Metrics
from tests.backends.contract import BackendContract
from tests.backends.s3_site import KIB, S3Site
from tests.backends.sites import FilesystemSite, MemorySite, WrappedSite
from tests.engines.every import OF_SMALL_PARTS, SEAWEEDFS

if TYPE_CHECKING:
    from pathlib import Path

    from blobd.backends.base import Backend
    from tests.backends.sites import Site
    from tests.engines.every import Engines


def metered(backend: Backend) -> Backend:
    return Metered(backend, Metrics())


class TestMemory(BackendContract):
    @pytest.fixture
    def site(self) -> Site:
        return MemorySite()


class TestFilesystem(BackendContract):
    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        return FilesystemSite(tmp_path, durable=True)


class TestFilesystemNotDurable(BackendContract):
    @pytest.fixture
    def site(self, memory_path: Path) -> Site:
        return FilesystemSite(memory_path, durable=False)


class TestMeteredMemory(BackendContract):
    @pytest.fixture
    def site(self) -> Site:
        return WrappedSite(MemorySite(), metered)


class TestMeteredFilesystem(BackendContract):
    @pytest.fixture
    def site(self, memory_path: Path) -> Site:
        return WrappedSite(FilesystemSite(memory_path, durable=True), metered)


@pytest.mark.one_loop
class TestS3(BackendContract):
    @pytest.fixture(params=[*OF_SMALL_PARTS, SEAWEEDFS])
    def site(self, request: pytest.FixtureRequest, engines: Engines) -> Site:
        engine = engines.get(request.param)
        part_size_bytes = max(64 * KIB, engine.least_part_bytes)
        return S3Site(engine.make_bucket(), part_size_bytes=part_size_bytes)


class TestFaultyWithoutFaults(BackendContract):
    @pytest.fixture
    def site(self) -> Site:
        return WrappedSite(MemorySite(), Faulty)
