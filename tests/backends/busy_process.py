"""A writer of many uploads at once that works until it is killed, and says what was answered.

`python -m tests.backends.busy_process ROOT` writes lines: begun ID 0 · saved ID OFFSET ·
committed ID DIGEST. The bytes of an upload follow from its id.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sys
from pathlib import Path

from blobd.backends.filesystem.backend import Filesystem
from tests.backends.acts import digest_of, off_loop, staged


def say(line: str) -> None:
    os.write(sys.stdout.fileno(), line.encode() + b"\n")


async def upload(backend: Filesystem) -> None:
    upload_id = secrets.token_hex(16)
    data = random.Random(upload_id).randbytes(200_000)
    await backend.begin(upload_id, b"")
    say(f"begun {upload_id} 0")
    for start in range(0, len(data), 50_000):
        async with staged(backend, upload_id) as staging:
            await staging.append([data[start : start + 50_000]])
            await staging.checkpoint(b"")
            say(f"saved {upload_id} {staging.offset}")
    async with staged(backend, upload_id) as staging:
        await staging.commit(digest_of(data))
        say(f"committed {upload_id} {digest_of(data)}")


async def work(backend: Filesystem) -> None:
    while True:
        await upload(backend)


async def main(root: Path) -> None:
    backend = await off_loop(Filesystem, root, durable=False)
    await asyncio.gather(*(work(backend) for _ in range(6)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
