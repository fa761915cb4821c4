"""Clients that download and throw away: `python -m bench.receivers`, told by JSON lines.

MSG_TRUNC makes the kernel drop what arrives without copying it, so that the server is measured.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from bench.senders import field
from bench.workforce import work

_DISCARD = bytearray(8 * 1024 * 1024)
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Errand:
    """Downloads of one resource on one connection."""

    host: str
    port: int
    target: str
    ranges: tuple[tuple[int, int], ...] = ()
    """First and last byte of each range to ask for in turn; empty: the whole once."""
    requests_for_all: int = 0
    """How many requests ask for all ranges at once, instead of one for each."""


@dataclass(frozen=True, slots=True)
class Times:
    """When it happened, by CLOCK_MONOTONIC."""

    start_s: float
    first_byte_s: float
    end_s: float
    received_bytes: int


def download(errand: Errand) -> Times:
    """Download all that is asked for. Raises RuntimeError when the server answers otherwise."""
    start_s = time.monotonic()
    first_byte_s = 0.0
    received_bytes = 0
    with socket.create_connection((errand.host, errand.port)) as client:
        for asked in _asked(errand):
            ranged = f"Range: bytes={asked}\r\n" if asked else ""
            head = f"GET {errand.target} HTTP/1.1\r\nHost: {errand.host}:{errand.port}\r\n{ranged}"
            client.sendall(head.encode() + b"\r\n")
            length_bytes, came_bytes = _head(client, 206 if asked else 200)
            first_byte_s = first_byte_s or time.monotonic()
            _discard(client, length_bytes - came_bytes)
            received_bytes += length_bytes
    return Times(start_s, first_byte_s, time.monotonic(), received_bytes)


def _asked(errand: Errand) -> list[str]:
    """Return the ranges of each request; an empty text asks for the whole."""
    ranges = [f"{first}-{last}" for first, last in errand.ranges]
    if errand.requests_for_all:
        return [",".join(ranges)] * errand.requests_for_all
    return ranges or [""]


def _head(client: socket.socket, wanted: int) -> tuple[int, int]:
    """Read a head; return the body's length and how much of the body came with it."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(_HEAD_BYTES)
        if not more:
            raise RuntimeError("the server hung up instead of answering")
        head += more
    if int(head[9:12]) != wanted:
        raise RuntimeError(f"wanted {wanted}, was answered {head[:400]!r}")
    head, _, body = head.partition(b"\r\n\r\n")
    return int(field(head, b"content-length")), len(body)


def _discard(client: socket.socket, left_bytes: int) -> None:
    while left_bytes:
        count = client.recv_into(_DISCARD, min(left_bytes, len(_DISCARD)), socket.MSG_TRUNC)
        if not count:
            raise RuntimeError("the body broke off")
        left_bytes -= count


def download_all(errands: list[Errand]) -> list[Times]:
    """Download one after another; processes make it happen at once."""
    return [download(errand) for errand in errands]


if __name__ == "__main__":
    work(Errand, download_all)
