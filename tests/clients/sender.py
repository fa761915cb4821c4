"""Pushes one large blob as clients do, at the least cost to the sender: all by sendfile."""

from __future__ import annotations

import hashlib
import http.client
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

_PIECE_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 32 * 1024
_LAST_CHUNK = b"0\r\n\r\n"
_WITHIN_S = 600


@dataclass(frozen=True, slots=True)
class Body:
    """A large body: one piece over and over, in a file plain and in a file cut into chunks."""

    plain: Path
    in_chunks: Path
    pieces: int
    digest: str

    @classmethod
    def make(cls, folder: Path, *, size_bytes: int) -> Self:
        """Make a body of random bytes, of a multiple of 64 MiB, in a folder that exists."""
        pieces, rest_bytes = divmod(size_bytes, _PIECE_BYTES)
        assert not rest_bytes
        piece = os.urandom(_PIECE_BYTES)
        body_hash = hashlib.sha256()
        for _ in range(pieces):
            body_hash.update(piece)
        plain, in_chunks = folder / "plain", folder / "in-chunks"
        plain.write_bytes(piece)
        with in_chunks.open("wb") as file:
            for at in range(0, len(piece), _CHUNK_BYTES):
                file.write(b"%x\r\n%b\r\n" % (_CHUNK_BYTES, piece[at : at + _CHUNK_BYTES]))
        return cls(plain, in_chunks, pieces, f"sha256:{body_hash.hexdigest()}")

    @property
    def size_bytes(self) -> int:
        return self.pieces * _PIECE_BYTES

    def send(self, url: str, method: str, *, chunked: bool = False) -> http.client.HTTPMessage:
        """Send it in one request, which must succeed, and return the answer's headers."""
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {self.size_bytes}"
        address = urlsplit(url)
        target = f"{address.path}?{address.query}" if address.query else address.path
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
        )
        assert address.hostname is not None
        assert address.port is not None
        where = (address.hostname, address.port)
        with (
            socket.create_connection(where, timeout=_WITHIN_S) as connection,
            (self.in_chunks if chunked else self.plain).open("rb") as file,
        ):
            connection.sendall(head.encode())
            for _ in range(self.pieces):
                file.seek(0)
                connection.sendfile(file)
            if chunked:
                connection.sendall(_LAST_CHUNK)
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            content = answer.read()
            assert answer.status in {201, 202}, (answer.status, content)
            return answer.headers


def push_in_chunks(body: Body, repository_url: str) -> None:
    """As docker does: one PATCH in chunks, of a length not told, and an empty PUT."""
    location = _start(repository_url)
    location = _next(location, body.send(location, "PATCH", chunked=True))
    _request(_with_digest(location, body), "PUT")


def push_with_length(body: Body, repository_url: str) -> None:
    """As podman does: one PATCH with its length, and an empty PUT."""
    location = _start(repository_url)
    location = _next(location, body.send(location, "PATCH"))
    _request(_with_digest(location, body), "PUT")


def push_at_once(body: Body, repository_url: str) -> None:
    """As containerd and oras do: one PUT with everything."""
    body.send(_with_digest(_start(repository_url), body), "PUT")


def _start(repository_url: str) -> str:
    url = f"{repository_url}/blobs/uploads/"
    return _next(url, _request(url, "POST"))


def _next(url: str, headers: Message) -> str:
    address = urlsplit(url)
    return f"{address.scheme}://{address.netloc}{headers['Location']}"


def _with_digest(location: str, body: Body) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={body.digest}"


def _request(url: str, method: str) -> http.client.HTTPMessage:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=_WITHIN_S)
    try:
        target = f"{address.path}?{address.query}" if address.query else address.path
        connection.request(method, target, headers={"Content-Length": "0"})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status in {201, 202}, (answer.status, content)
        return answer.headers
    finally:
        connection.close()
