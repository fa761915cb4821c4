"""A body that arrives as a test says: bytes, pauses, and ends of every kind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Step = bytes | Exception | asyncio.Event
_FRAMING = b"\r\nffff\r\n"


class ScriptedBody:
    """A `receive.Body`. Bytes are there at once, an event is waited for, an error is raised.

    With `length_bytes` it is a body of known length. Without, it is chunked: its end shows only
    when it is reached, and framing lies between its steps in the buffers.
    """

    def __init__(self, *steps: Step, length_bytes: int | None = None) -> None:
        self._steps: list[Step] = [step for step in steps if step != b""]
        self._seen_end = False
        self.length_bytes = length_bytes
        self.taken_bytes = 0
        self.buffers: list[int] = []
        """The sizes of the buffers that were offered."""
        self.paused = asyncio.Event()
        """Set when the next event is being waited for."""

    @classmethod
    def of(cls, data: bytes, *, announced: bool = True) -> ScriptedBody:
        """A body that arrives whole."""
        return cls(data, length_bytes=len(data) if announced else None)

    @property
    def ended(self) -> bool:
        known = self.length_bytes is not None and self.taken_bytes == self.length_bytes
        return known or self._seen_end

    async def ready(self) -> bool:
        while self._steps and isinstance(self._steps[0], asyncio.Event):
            self.paused.set()
            await self._steps[0].wait()
            self._steps.pop(0)
        if not self._steps:
            self._seen_end = True
            return False
        if isinstance(self._steps[0], Exception):
            raise self._steps[0]
        return True

    async def receive(self, view: memoryview) -> Sequence[memoryview]:
        self.buffers.append(len(view))
        parts: list[memoryview] = []
        position = 0
        while self._steps and isinstance(step := self._steps[0], bytes):
            if parts and self.length_bytes is None:
                framing = _FRAMING[: len(view) - position]
                view[position : position + len(framing)] = framing
                position += len(framing)
            size_bytes = min(len(step), len(view) - position)
            if size_bytes == 0:
                return parts
            view[position : position + size_bytes] = step[:size_bytes]
            parts.append(view[position : position + size_bytes])
            position += size_bytes
            self.taken_bytes += size_bytes
            self._steps[0] = step[size_bytes:]
            if not self._steps[0]:
                self._steps.pop(0)
        if not parts:
            await self.ready()
        elif not self._steps:
            self._seen_end = True
        return parts
