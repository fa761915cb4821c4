"""Where data folders are made: in memory, so that what is synced there is synced at once."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")


@contextmanager
def memory_folder(parent: Path = MEMORY) -> Iterator[Path]:
    """Yield a new folder, elsewhere if the machine has no such place; it is removed at the end."""
    where = parent if parent.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="blobd-crash-", dir=where) as folder:
        yield Path(folder)
