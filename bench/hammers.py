"""Clients that send many small requests: `python -m bench.hammers`, told by JSON lines.

One process is one blocking client: it sends a request, reads the answer, and goes on, until its
time is over. Requests are bytes made beforehand, answers are read no further than needed.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import socket
import time
from dataclasses import dataclass

from bench.workforce import work

_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Errand:
    """What one client asks for, again and again."""

    mode: str
    """`push`, `head` or `get`."""
    host: str
    port: int
    uploads: str
    """The path to start an upload at, or to put to where `is_registry` is not set."""
    targets: tuple[str, ...]
    """Paths of existing blobs, for `head` and `get`."""
    size_bytes: int
    duration_s: float
    keep_alive: bool
    seed: int
    count_max: int = 1_000_000_000
    authorization: str = ""
    """What each request shows."""

    @property
    def fields(self) -> str:
        """The header fields of every request."""
        shown = f"Authorization: {self.authorization}\r\n" if self.authorization else ""
        return f"Host: {self.host}\r\n{shown}"


@dataclass(frozen=True, slots=True)
class Count:
    """What one client got done."""

    requests: int
    start_s: float
    end_s: float
    last_digest: str


class Line:
    """A connection that is made again when it was closed, or is not to be kept."""

    def __init__(self, errand: Errand) -> None:
        self._address = (errand.host, errand.port)
        self._keep_alive = errand.keep_alive
        self._socket: socket.socket | None = None

    def exchange(self, request: bytes, *, bodiless: bool = False) -> bytes:
        """Send a request, read the whole answer and return its head, in lower case."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = self._socket
        client.sendall(request)
        data = client.recv(_HEAD_BYTES)
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = client.recv(_HEAD_BYTES)
            if not more:
                raise RuntimeError("the server hung up instead of answering")
            data += more
        head = data[:end].lower()
        left_bytes = 0 if bodiless else _length(head) - (len(data) - end - 4)
        while left_bytes > 0:
            left_bytes -= len(client.recv(min(left_bytes, 1024 * 1024)))
        if not self._keep_alive or b"\r\nconnection: close" in head:
            client.close()
            self._socket = None
        return data[:end] if b"\r\nlocation:" in head else head


def _length(head: bytes) -> int:
    start = head.find(b"\r\ncontent-length:")
    return int(head[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


def _pushes(errand: Errand, line: Line) -> str:
    """Push new blobs until the time is over or they are enough; return `count digest`."""
    own = f"{errand.seed:08x}".encode()
    filler = random.Random(errand.seed).randbytes(errand.size_bytes - 16)
    hasher = hashlib.sha256(filler)
    start = f"POST {errand.uploads} HTTP/1.1\r\n{errand.fields}Content-Length: 0\r\n\r\n"
    end_s = time.monotonic() + errand.duration_s
    digest = ""
    count = 0
    while time.monotonic() < end_s and count < errand.count_max:
        suffix = own + b"%08x" % count
        each = hasher.copy()
        each.update(suffix)
        digest = f"sha256:{each.hexdigest()}"
        head = line.exchange(start.encode())
        location = _location(head)
        mark = "&" if "?" in location else "?"
        put = (
            f"PUT {location}{mark}digest={digest} HTTP/1.1\r\n{errand.fields}"
            f"Content-Type: application/octet-stream\r\nContent-Length: {errand.size_bytes}\r\n\r\n"
        )
        head = line.exchange(put.encode() + filler + suffix)
        if head[9:12] != b"201":
            raise RuntimeError(f"a push was answered {head!r}")
        count += 1
    return f"{count} {digest}"


def _location(head: bytes) -> str:
    for field in head.split(b"\r\n"):
        name, _, value = field.partition(b":")
        if name.lower() == b"location":
            text = value.strip().decode()
            return "/" + text.split("/", 3)[3] if text.startswith("http") else text
    raise RuntimeError(f"no Location in {head!r}")


def _reads(errand: Errand, line: Line) -> int:
    method = errand.mode.upper()
    requests = [
        f"{method} {target} HTTP/1.1\r\n{errand.fields}\r\n".encode() for target in errand.targets
    ]
    random.Random(errand.seed).shuffle(requests)
    bodiless = errand.mode == "head"
    end_s = time.monotonic() + errand.duration_s
    for count, request in enumerate(itertools.cycle(requests)):
        if count % 16 == 0 and time.monotonic() >= end_s:
            return count
        head = line.exchange(request, bodiless=bodiless)
        if head[9:12] != b"200":
            raise RuntimeError(f"wanted 200, was answered {head!r}")
    return 0


def hammer(errand: Errand) -> Count:
    """Do as told until the time is over. Raises RuntimeError when the server answers otherwise."""
    line = Line(errand)
    start_s = time.monotonic()
    if errand.mode == "push":
        count, _, digest = _pushes(errand, line).partition(" ")
        return Count(int(count), start_s, time.monotonic(), digest)
    return Count(_reads(errand, line), start_s, time.monotonic(), "")


def hammer_all(errands: list[Errand]) -> list[Count]:
    """Do one after another; processes make it happen at once."""
    return [hammer(errand) for errand in errands]


if __name__ == "__main__":
    work(Errand, hammer_all)
