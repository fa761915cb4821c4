"""The body of a request to the engine: memory of others in a row, which nobody joins or copies."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.backends.base import Buffer

_SEND_BYTES = 256 * 1024
"""http.client would send 16 KiB at a time, each with a wait for the interpreter."""


class Body:
    """What botocore needs of a file: it reads, and goes back to the start for another try.

    The memory must stay as it is until the request has returned. The length goes ahead of the
    bytes, so a body that is read short breaks its request, and is never taken for the whole.
    """

    def __init__(self, pieces: Sequence[Buffer]) -> None:
        self._views = [memoryview(piece) for piece in pieces]
        self._length_bytes = sum(view.nbytes for view in self._views)
        self._at = 0

    def __len__(self) -> int:
        return self._length_bytes

    def read(self, _most_bytes: int = -1) -> memoryview:
        """Return the next bytes, none at the end; as many as one `send` is good for."""
        at = self._at
        for view in self._views:
            if at < view.nbytes:
                found = view[at : at + _SEND_BYTES]
                self._at += found.nbytes
                return found
            at -= view.nbytes
        return memoryview(b"")

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to an offset in bytes; return it from the start."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length_bytes}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._at

    def equals(self, data: bytes) -> bool:
        """Return whether these are its bytes."""
        found, start = memoryview(data), 0
        for view in self._views:
            if found[start : start + view.nbytes] != view:
                return False
            start += view.nbytes
        return start == found.nbytes
