"""A writer in a process of its own: does what it reads, a line a command, a line an answer.

`python -m tests.backends.other_process ROOT` opens a durable filesystem backend. Commands, words
separated by spaces: stage ID · append TEXT · checkpoint MEMO · commit DIGEST · abort · close ·
guard (waits until it is overtaken) · compete ID LETTER ROUNDS · store TEXT TIMES. The answer is
`ok` with the offset, or the class of the error with its text.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from blobd.backends.filesystem.backend import Filesystem
from blobd.digest import Digest
from blobd.errors import BlobdError, UploadBusy, UploadOvertaken
from tests.backends.acts import off_loop, staged, store

if TYPE_CHECKING:
    from blobd.backends.filesystem.writer import FileStaging

BLOCK_BYTES = 250
BLOCKS = 4


class Writer:
    """One backend and at most one staging."""

    def __init__(self, backend: Filesystem) -> None:
        self._backend = backend
        self._staging: FileStaging | None = None

    @property
    def staging(self) -> FileStaging:
        assert self._staging is not None
        return self._staging

    async def obey(self, line: str) -> str:
        verb, *words = line.split()
        try:
            await getattr(self, verb)(*words)
        except BlobdError as error:
            return f"{type(error).__name__} {error}"
        return f"ok {self._staging.offset if self._staging else 0}"

    async def stage(self, upload_id: str) -> None:
        self._staging = await self._backend.stage(upload_id)

    async def append(self, text: str) -> None:
        await self.staging.append([text.encode()])

    async def checkpoint(self, memo: str) -> None:
        await self.staging.checkpoint(memo.encode())

    async def commit(self, digest: str) -> None:
        await self.staging.commit(Digest.parse(digest))

    async def abort(self) -> None:
        await self.staging.abort()

    async def close(self) -> None:
        await self.staging.aclose()

    async def guard(self) -> None:
        async with self.staging.guard():
            await asyncio.Event().wait()

    async def compete(self, upload_id: str, letter: str, rounds: str) -> None:
        await compete(self._backend, upload_id, letter.encode(), int(rounds))

    async def store(self, text: str, times: str) -> None:
        for _ in range(int(times)):
            await store(self._backend, text.encode())


async def compete(backend: Filesystem, upload_id: str, letter: bytes, rounds: int) -> None:
    """Take the upload over again and again; write blocks of one letter, saved all or none."""
    for _ in range(rounds):
        try:
            async with staged(backend, upload_id) as staging, staging.guard():
                for _ in range(BLOCKS):
                    await staging.append([letter * BLOCK_BYTES])
                await staging.checkpoint(letter + secrets.token_bytes(4))
        except (UploadOvertaken, UploadBusy):
            continue


async def main(root: Path) -> None:
    writer = Writer(await off_loop(Filesystem, root, durable=True))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while line := await off_loop(sys.stdin.readline):
        answer = await writer.obey(line)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
