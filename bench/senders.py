"""Clients that upload, in a process of their own: `python -m bench.senders`, told by JSON lines.

They cost little, so that two cores measure the server: bodies with a length leave by sendfile from
a file in the page cache; chunked bodies by sendmsg of buffers and frames that exist already. A body
is the source file, over again where it is longer, and a suffix that makes its digest its own.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
import time
from dataclasses import dataclass

from bench.workforce import work

_CHUNK_BYTES = 32 * 1024
_CHUNKS_AT_ONCE = 64
_SENDFILE_BYTES = 64 * 1024 * 1024
_FRAME = b"%x\r\n" % _CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Errand:
    """One upload."""

    mode: str
    """`plain`: one PUT to `target`; `put`, `patch`, `chunked`: POST to `target`, then the body."""
    host: str
    port: int
    target: str
    source: str
    size_bytes: int
    """Without the suffix."""
    suffix: str
    digest: str


@dataclass(frozen=True, slots=True)
class Times:
    """When it happened, by CLOCK_MONOTONIC."""

    start_s: float
    last_byte_s: float
    """The last byte of the body was handed to the kernel."""
    end_s: float
    """The answer that says 201 was read."""


def upload(errand: Errand) -> Times:
    """Upload once. Raises RuntimeError when the server does not answer as hoped."""
    suffix = errand.suffix.encode()
    length_bytes = errand.size_bytes + len(suffix)
    start_s = time.monotonic()
    with socket.create_connection((errand.host, errand.port)) as client:
        location = errand.target
        if errand.mode != "plain":
            status, head = ask(client, errand, "POST", location, b"Content-Length: 0\r\n")
            _expect(202, status, head)
            location = field(head, b"location")
        framing = b"Content-Length: %d\r\n" % length_bytes
        method = "PUT" if errand.mode in {"plain", "put"} else "PATCH"
        if errand.mode == "put":
            location = with_digest(location, errand.digest)
        elif errand.mode == "chunked":
            framing = b"Transfer-Encoding: chunked\r\n"
        framing += b"Content-Type: application/octet-stream\r\n"
        client.sendall(request(errand, method, location, framing))
        if errand.mode == "chunked":
            _send_chunked(client, errand, suffix)
        else:
            _send_file(client, errand)
            client.sendall(suffix)
        last_byte_s = time.monotonic()
        status, head = answer(client)
    if method == "PUT":
        if status not in {201, 204}:
            _expect(201, status, head)
        return Times(start_s, last_byte_s, time.monotonic())
    _expect(202, status, head)
    location = with_digest(field(head, b"location"), errand.digest)
    with socket.create_connection((errand.host, errand.port)) as client:
        status, head = ask(client, errand, "PUT", location, b"Content-Length: 0\r\n")
    _expect(201, status, head)
    return Times(start_s, last_byte_s, time.monotonic())


def _send_file(client: socket.socket, errand: Errand) -> None:
    file = os.open(errand.source, os.O_RDONLY)
    try:
        source_bytes = os.fstat(file).st_size
        sent_bytes = 0
        while sent_bytes < errand.size_bytes:
            offset = sent_bytes % source_bytes
            want = min(errand.size_bytes - sent_bytes, source_bytes - offset, _SENDFILE_BYTES)
            sent_bytes += os.sendfile(client.fileno(), file, offset, want)
    finally:
        os.close(file)


def _send_chunked(client: socket.socket, errand: Errand, suffix: bytes) -> None:
    with open(errand.source, "rb") as file:  # noqa: PTH123 pathlib costs every sender a start-up
        content = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    whole, rest_bytes = divmod(errand.size_bytes, _CHUNK_BYTES)
    if rest_bytes:
        raise ValueError("a chunked body is a whole number of 32 KiB chunks")
    for first in range(0, whole, _CHUNKS_AT_ONCE):
        parts: list[bytes | memoryview] = []
        for index in range(first, min(first + _CHUNKS_AT_ONCE, whole)):
            offset = index * _CHUNK_BYTES % len(content)
            parts += (_FRAME, content[offset : offset + _CHUNK_BYTES], b"\r\n")
        if client.sendmsg(parts) != sum(map(len, parts)):
            raise RuntimeError("a blocking sendmsg sent less than all")
    client.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (len(suffix), suffix))


def request(errand: Errand, method: str, location: str, headers: bytes) -> bytes:
    """Return a request's head; an absolute location is made relative."""
    if location.startswith("http"):
        location = "/" + location.split("/", 3)[3]
    line = f"{method} {location} HTTP/1.1\r\nHost: {errand.host}:{errand.port}\r\n"
    return line.encode() + headers + b"\r\n"


def ask(
    client: socket.socket, errand: Errand, method: str, location: str, headers: bytes
) -> tuple[int, bytes]:
    """Send a request without a body; return the answer's status and head."""
    client.sendall(request(errand, method, location, headers))
    return answer(client)


def answer(client: socket.socket) -> tuple[int, bytes]:
    """Read an answer's head, and what comes with it; return its status and that."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(65536)
        if not more:
            raise RuntimeError("the server hung up instead of answering")
        head += more
    return int(head[9:12]), head


def field(head: bytes, name: bytes) -> str:
    """Return a header's value. Raises RuntimeError where it is not there."""
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip().decode()
    raise RuntimeError(f"the answer has no {name.decode()}: {head[:300]!r}")


def with_digest(location: str, digest: str) -> str:
    """Return the address that finishes an upload."""
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _expect(wanted: int, status: int, head: bytes) -> None:
    if status != wanted:
        raise RuntimeError(f"wanted {wanted}, was answered {status}: {head[:400]!r}")


def upload_all(errands: list[Errand]) -> list[Times]:
    """Upload all at once, each on a thread; return their times. Raises as `upload` does."""
    times: list[Times] = []
    failures: list[BaseException] = []

    def run(errand: Errand) -> None:
        try:
            times.append(upload(errand))
        except BaseException as error:  # noqa: BLE001 raised again below, where it is seen
            failures.append(error)

    threads = [threading.Thread(target=run, args=(errand,)) for errand in errands]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return times


if __name__ == "__main__":
    work(Errand, upload_all)
