"""Data folders in memory, where there is such a place: what is synced there is synced at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.crash.folders import memory_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.register_assert_rewrite(
    "tests.crash.checks",
    "tests.crash.exchange",
    "tests.crash.harness",
    "tests.crash.images",
    "tests.crash.mishaps",
    "tests.crash.site",
    "tests.crash.uploading",
)


@pytest.fixture
def data() -> Iterator[Path]:
    """Where a daemon's data will be; removed at the end."""
    with memory_folder() as folder:
        yield folder / "data"
