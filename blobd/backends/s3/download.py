"""A span of an object on its way, which goes on where the engine broke off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import BackendUnavailable

if TYPE_CHECKING:
    from blobd.backends.s3.calls import S3Calls
    from blobd.backends.s3.client import Arriving


class Download:
    """A span that arrives. One thread at a time."""

    @classmethod
    def open(cls, calls: S3Calls, key: str, start: int, stop: int) -> Download | None:
        """Return a span of an object, to be read; None where there is no object."""
        body = calls.arriving(key, start, stop)
        return None if body is None else cls(calls, key, start, stop, body)

    def __init__(self, calls: S3Calls, key: str, start: int, stop: int, body: Arriving) -> None:
        self._calls = calls
        self._key = key
        self._at = start
        self._stop = stop
        self._body = body

    @property
    def object_bytes(self) -> int | None:
        """The size of the object, where the engine says so."""
        return self._body.object_bytes

    def read(self, most_bytes: int) -> bytes:
        """Return the next bytes; none at the end. Raises BackendUnavailable.

        Where the engine breaks off it is asked for the rest, for as long as `s3/retries.py` allows
        without a byte more; an object that has changed meanwhile is an error.
        """
        retries = self._calls.resumes()
        while self._at < self._stop:
            failure = BackendUnavailable(f"the S3 engine ended {self._key} at byte {self._at}")
            try:
                data = self._calls.read_arriving(self._body, min(most_bytes, self._stop - self._at))
            except BackendUnavailable as error:
                data, failure = b"", error
            if data:
                self._at += len(data)
                return data
            if not retries.again():
                raise failure
            self._resume()
        return b""

    def close(self) -> None:
        """Stop, whatever is still on its way."""
        self._body.close()

    def _resume(self) -> None:
        self._body.close()
        self._calls.count_resumed()
        body = self._calls.arriving(self._key, self._at, self._stop)
        if body is None:
            raise BackendUnavailable(f"{self._key} has gone while it was being read")
        etag, self._body = self._body.etag, body
        if body.etag != etag:
            # Not by If-Match: some engines ignore it.
            raise BackendUnavailable(f"{self._key} has changed while it was being read")
