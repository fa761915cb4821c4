"""A blob API in memory that fails as it is told: it drops connections and loses answers.

Not a model of blobd; it keeps the few rules of the protocol that the client's resuming rests on,
over a real socket, so that a test decides at which byte what happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens, once, to the next request of this method."""

    method: str
    drop_after_bytes: int | None = None
    """Break off after so many bytes of the request's body, or of a download."""
    lose_answer: bool = False
    """Do what was asked, then break off instead of answering."""
    forget_upload: bool = False
    """Lose all open uploads, then go on."""
    silent: bool = False
    """Never answer."""
    answer: tuple[int, dict[str, str], bytes] | None = None
    """Answer this instead, before any of the body is read."""


@dataclass(slots=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body_bytes: int = 0


@dataclass(slots=True)
class Script:
    """The server's memory; tests read and write it."""

    faults: deque[Fault] = field(default_factory=deque)
    stale_offsets: deque[int] = field(default_factory=deque)
    """What the next status answers, instead of the truth: a writer is ahead of its record."""
    uploads: dict[str, bytearray] = field(default_factory=dict)
    finished: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    range_of_nothing: bool = False
    """Say `0-0` of an upload without a byte, as docker's registry does."""
    address: str = ""

    def methods(self) -> list[str]:
        return [asked.method for asked in self.asked]

    def received_bytes(self) -> int:
        """Return the bytes of all bodies that were taken."""
        return sum(asked.body_bytes for asked in self.asked)

    def store(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest


class _BrokenOff(Exception):
    pass


@asynccontextmanager
async def scripted_server() -> AsyncIterator[Script]:
    """Serve a script on a port of its own."""
    script = Script()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await _exchange(script, reader, writer):
                pass
        except (_BrokenOff, ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        script.address = f"http://{host}:{port}"
        yield script


async def _exchange(
    script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Serve one request; return whether the connection goes on."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    asked = Asked(method, unquote(target), headers)
    script.asked.append(asked)
    fault = Fault(method)
    if script.faults and script.faults[0].method == method:
        fault = script.faults.popleft()
    if fault.silent:
        await reader.read()
        raise _BrokenOff
    if fault.answer is not None:
        status, extra, body = fault.answer
        await _answer(writer, status, extra, body)
        return headers.get("content-length", "0") == "0"
    if fault.forget_upload:
        script.uploads.clear()
    status, extra, body = await _act(script, asked, fault, reader)
    if fault.lose_answer:
        raise _BrokenOff
    if method == "GET" and fault.drop_after_bytes is not None:
        await _answer(writer, status, extra, body, sent_bytes=fault.drop_after_bytes)
        raise _BrokenOff
    await _answer(writer, status, extra, body, head_only=method == "HEAD")
    return True


async def _act(
    script: Script, asked: Asked, fault: Fault, reader: asyncio.StreamReader
) -> tuple[int, dict[str, str], bytes]:
    url = urlsplit(asked.target)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    _, kind, *rest = url.path.split("/")
    name = rest[0] if rest else ""
    match asked.method, kind, bool(name):
        case "POST", "uploads", False:
            body = await _body(asked, fault, reader, bytearray())
            if "digest" in query and (body or query["digest"] in script.blobs):
                return _stored(script, bytes(body), query["digest"])
            upload_id = f"{len(script.asked):032x}"
            script.uploads[upload_id] = bytearray()
            return 202, {**_range(script, upload_id, 0), "Range": "0-0"}, b""
        case "PATCH", "uploads", True if name in script.uploads:
            staged = script.uploads[name]
            start = int(asked.headers["content-range"].partition("-")[0])
            if start != len(staged):
                await reader.readexactly(int(asked.headers["content-length"]))
                return (
                    416,
                    _range(script, name, len(staged)),
                    _error("BLOB_UPLOAD_INVALID", "misplaced"),
                )
            await _body(asked, fault, reader, staged)
            return 202, _range(script, name, len(staged)), b""
        case "GET", "uploads", True if name in script.uploads:
            offset = len(script.uploads[name])
            if script.stale_offsets:
                offset = script.stale_offsets.popleft()
            return 204, _range(script, name, offset), b""
        case "PUT", "uploads", True if name in script.uploads:
            answer = _stored(script, bytes(script.uploads.pop(name)), query["digest"])
            script.finished[name] = query["digest"]
            return answer
        case "PUT", "uploads", True if script.finished.get(name) == query["digest"]:
            return 201, {"Location": f"/blobs/{query['digest']}"}, b""
        case "DELETE", "uploads", True if name in script.uploads:
            del script.uploads[name]
            return 204, {}, b""
        case (("GET" | "HEAD"), "blobs", True) if name in script.blobs:
            return _blob(script.blobs[name], asked.headers.get("range"))
    return 404, {}, _error("BLOB_UPLOAD_UNKNOWN" if kind == "uploads" else "BLOB_UNKNOWN", "gone")


def _stored(script: Script, data: bytes, digest: str) -> tuple[int, dict[str, str], bytes]:
    if digest in script.blobs and not data:
        return 201, {"Location": f"/blobs/{digest}"}, b""
    algorithm, _, encoded = digest.partition(":")
    if hashlib.new(algorithm, data).hexdigest() != encoded:
        return 400, {}, _error("DIGEST_INVALID", "the bytes hash to something else")
    script.blobs[digest] = data
    return 201, {"Location": f"/blobs/{digest}"}, b""


def _blob(data: bytes, wanted: str | None) -> tuple[int, dict[str, str], bytes]:
    if wanted is None:
        return 200, {}, data
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    piece = data[int(first) : int(last) + 1]
    return 206, {"Content-Range": f"bytes {first}-{last}/{len(data)}"}, piece


def _range(script: Script, upload_id: str, offset: int) -> dict[str, str]:
    headers = {"Location": f"/uploads/{upload_id}.{offset}", "Docker-Upload-UUID": upload_id}
    if offset or script.range_of_nothing:
        headers["Range"] = f"0-{max(offset - 1, 0)}"
    return headers


def _error(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": {}}]}).encode()


async def _body(
    asked: Asked, fault: Fault, reader: asyncio.StreamReader, into: bytearray
) -> bytearray:
    left = int(asked.headers.get("content-length", "0"))
    stop = left if fault.drop_after_bytes is None else fault.drop_after_bytes
    while asked.body_bytes < stop:
        piece = await reader.read(min(65536, stop - asked.body_bytes))
        if not piece:
            raise _BrokenOff
        into += piece
        asked.body_bytes += len(piece)
    if fault.drop_after_bytes is not None:
        raise _BrokenOff
    return into


async def _answer(
    writer: asyncio.StreamWriter,
    status: int,
    headers: dict[str, str],
    body: bytes,
    *,
    sent_bytes: int | None = None,
    head_only: bool = False,
) -> None:
    lines = [f"HTTP/1.1 {status} Told", *(f"{name}: {value}" for name, value in headers.items())]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    if not head_only:
        writer.write(body[:sent_bytes])
    await writer.drain()
