"""What one run is to do: sizes, rounds and places. `full` and `quick` are the two scales."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

PARTS = (
    *("upload", "download", "small", "commit", "memory", "resume", "idle", "fair", "growth"),
    *("access", "pieces", "s3"),
)
REPOSITORY = "bench/blobs"


@dataclass(frozen=True, slots=True)
class Plan:
    """One run; sizes are of the full scale."""

    folder: Path
    """A folder on tmpfs, removed at the end."""
    disk: Path | None
    """A folder on a real disk, removed at the end; None where none was named."""
    peers: tuple[tuple[str, str], ...] = ()
    """Name and command of other registries."""
    rounds: int = 5
    large_bytes: int = GIB
    small_sizes_bytes: tuple[int, ...] = (4 * KIB, 64 * KIB, MIB)
    small_s: float = 1.5
    """How long each rate of small requests is measured."""
    commit_sizes_bytes: tuple[int, ...] = (MIB, 64 * MIB, GIB, 8 * GIB)
    upload_counts: tuple[int, ...] = (1, 16, 64, 256)
    resume_bytes: int = 8 * GIB
    idle_clients: int = 1000
    slow_clients: int = 200
    fair_s: float = 5.0
    """How long ten modest accounts push."""
    blob_counts: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    packages: int = 10_000
    """With ten times as many versions."""
    engine: str = ""
    """The S3 engine: `ceph` or `swift`; empty for the first of them that is installed."""
    s3_commit_sizes_bytes: tuple[int, ...] = (64 * MIB, GIB, 4 * GIB)
    s3_uploads: int = 32
    s3_upload_bytes: int = 100 * MIB
    parts: tuple[str, ...] = field(default=PARTS)

    @property
    def few_rounds(self) -> int:
        """Rounds of what takes long and varies little."""
        return max(1, self.rounds // 2)

    @property
    def crowd_bytes(self) -> int:
        """What each of four clients uploads or downloads."""
        return self.large_bytes // 2


def quick_plan(plan: Plan) -> Plan:
    """Return a plan that ends within two minutes."""
    return replace(
        plan,
        rounds=2,
        large_bytes=128 * MIB,
        small_sizes_bytes=(4 * KIB,),
        small_s=0.3,
        commit_sizes_bytes=(MIB, 64 * MIB, 128 * MIB),
        upload_counts=(1, 16),
        resume_bytes=512 * MIB,
        idle_clients=200,
        slow_clients=40,
        fair_s=3.0,
        blob_counts=(1_000, 20_000),
        packages=1_000,
        s3_commit_sizes_bytes=(16 * MIB, 128 * MIB),
        s3_uploads=8,
        s3_upload_bytes=16 * MIB,
    )
