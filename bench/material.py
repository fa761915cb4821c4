"""The bytes that travel: one source file in memory, and bodies of it that differ by a suffix."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import senders
from bench.plan import MIB
from bench.servers import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from bench.servers import Server


@dataclass(frozen=True, slots=True)
class Body:
    """`size_bytes` of the source, over again where it is longer, and a suffix."""

    source: Path
    size_bytes: int
    suffix: str
    digest: str

    @property
    def length_bytes(self) -> int:
        """The length on the wire."""
        return self.size_bytes + len(self.suffix)

    def errand(self, server: Server, mode: str) -> senders.Errand:
        """Return the order to upload it to a server; who is no registry gets a plain PUT."""
        plain = not server.is_registry
        return senders.Errand(
            mode="plain" if plain else mode,
            host=HOST,
            port=server.port,
            target=server.blob(self.digest) if plain else server.uploads,
            source=str(self.source),
            size_bytes=self.size_bytes,
            suffix=self.suffix,
            digest=self.digest,
        )


def write_source(path: Path, size_bytes: int) -> None:
    """Write a file of bytes that do not compress; 64 MiB of chance, repeated."""
    block = os.urandom(min(64 * MIB, size_bytes))
    with path.open("wb") as file:
        while (left_bytes := size_bytes - file.tell()) > 0:
            file.write(block[:left_bytes])


def bodies(source: Path, size_bytes: int, count: int) -> list[Body]:
    """Return bodies of one size and different digests, at the cost of hashing one."""
    hasher = hashlib.sha256()
    left_bytes = size_bytes
    while left_bytes:
        with source.open("rb") as file:
            while left_bytes and (block := file.read(min(MIB, left_bytes))):
                hasher.update(block)
                left_bytes -= len(block)
    made = []
    for index in range(count):
        suffix = f"{index:016x}"
        own = hasher.copy()
        own.update(suffix.encode())
        made.append(Body(source, size_bytes, suffix, f"sha256:{own.hexdigest()}"))
    return made
