"""From the last body byte to the 201, against size: a real disk, full durability."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bench import journal as metric
from bench.journal import Journal, Key
from bench.material import bodies, write_source
from bench.plan import GIB, MIB, Plan
from bench.servers import running_blobd, running_docker_registry, running_peer
from bench.workforce import employ

if TYPE_CHECKING:
    from pathlib import Path

_OWN_SYNC_BYTES = 64 * MIB


def run(plan: Plan, journal: Journal) -> None:
    """Measure PUTs of growing size, with the disk's own fdatasync of 64 MiB beside them."""
    if plan.disk is None:
        journal.progress("commit: left out, it needs --disk")
        return
    source = plan.folder / "source"
    write_source(source, min(plan.large_bytes, GIB))
    folder = plan.disk / "commit"
    made = {size: bodies(source, size, 1)[0] for size in plan.commit_sizes_bytes}
    with ExitStack() as stack:
        blobd = running_blobd(folder / "blobd", workers=1, durability="full")
        servers = [stack.enter_context(blobd)]
        servers.append(stack.enter_context(running_docker_registry(folder / "registry")))
        servers += [
            stack.enter_context(running_peer(peer, folder / f"peer-{peer[0]}"))
            for peer in plan.peers
        ]
        for size_bytes, body in made.items():
            rounds = plan.rounds if size_bytes <= GIB else plan.few_rounds
            for number in range(rounds):
                _sync_own(journal, plan.disk / "own")
                for server in servers:
                    if size_bytes > GIB and server.name != "blobd" and number:
                        continue
                    case = f"{size_bytes // MIB:,} MiB"
                    journal.progress(f"commit {number + 1}/{rounds} {server.name}: {case}")
                    outcome = employ("bench.senders", [[body.errand(server, "put")]])
                    result = outcome.results[0]
                    took_ms = (result["end_s"] - result["last_byte_s"]) * 1000
                    journal.note(Key("commit", case, server.name, metric.COMMIT), took_ms)
                    server.drop_payload()
                    os.sync()
    source.unlink()


def _sync_own(journal: Journal, path: Path) -> None:
    """Note how long the disk itself takes to make 64 MiB durable."""
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(_OWN_SYNC_BYTES // MIB):
            file.write(block)
        file.flush()
        start_s = time.monotonic()
        os.fdatasync(file.fileno())
        took_ms = (time.monotonic() - start_s) * 1000
    path.unlink()
    journal.note(Key("commit", "fdatasync of 64 MiB", "the disk itself", metric.COMMIT), took_ms)
