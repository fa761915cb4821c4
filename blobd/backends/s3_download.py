"""A span of an object on its way, which goes on where the engine broke off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    from blobd.backends.s3_calls import S3Calls


class Download:
    """A span of an object on its way. One thread at a time."""

    @classmethod
    def open(cls, calls: S3Calls, key: str, start: int, stop: int) -> Download | None:
        """Return a span of an object, to be read; None where there is no object."""
        body = calls.body(key, start, stop)
        return None if body is None else cls(calls, key, start, stop, body)

    def __init__(self, calls: S3Calls, key: str, start: int, stop: int, body: Any) -> None:
        self._calls = calls
        self._key = key
        self._at = start
        self._stop = stop
        self._body = body

    def read(self, most_bytes: int) -> bytes:
        """Return the next bytes; none at the end. Where the engine broke off, go on from there."""
        tries = self._calls.tries
        while self._at < self._stop:
            tries -= 1
            try:
                with self._calls.reading():
                    data: bytes = self._body.read(min(most_bytes, self._stop - self._at))
            except BackendUnavailable:
                if not tries:
                    raise
                data = b""
            if data:
                self._at += len(data)
                return data
            if not tries:
                raise BackendUnavailable(f"the S3 engine ended {self._key} at byte {self._at}")
            self._reopen()
        return b""

    def close(self) -> None:
        """Stop, whatever is still on its way."""
        self._body.close()

    def _reopen(self) -> None:
        self._body.close()
        self._calls.count_resumed()
        body = self._calls.body(self._key, self._at, self._stop)
        if body is None:
            raise BackendUnavailable(f"{self._key} has gone while it was being read")
        self._body = body
