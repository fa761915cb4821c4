"""Going on after kill -9: from readiness to the first new byte, and what is re-read."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import journal as metric
from bench import processes
from bench.journal import Journal, Key
from bench.material import bodies, write_source
from bench.metrics import read_metric
from bench.plan import GIB, MIB, Plan
from bench.senders import answer, ask, field, request
from bench.servers import HOST, running_blobd

if TYPE_CHECKING:
    from bench.material import Body
    from bench.servers import Server

_PIECE_BYTES = 1024
_SENDFILE_BYTES = 64 * MIB


def run(plan: Plan, journal: Journal) -> None:
    """Kill an upload at its full size, on the disk if there is one, and go on with it."""
    folder = plan.disk or plan.folder
    size_bytes = plan.resume_bytes if plan.disk is not None else min(plan.resume_bytes, 2 * GIB)
    source = plan.folder / "source"
    write_source(source, min(plan.large_bytes, size_bytes))
    body = replace(bodies(source, MIB, 1)[0], size_bytes=size_bytes)
    case = f"kill -9 at {size_bytes // MIB:,} MiB"
    for number in range(plan.few_rounds):
        data = folder / f"resume-{number}"
        journal.progress(f"resume {number + 1}: {case}")
        with running_blobd(data, workers=1, durability="full") as server:
            location = _send_and_kill(server, body)
        with running_blobd(data, workers=1, durability="full") as server:
            ready_s = time.monotonic()
            read_before = processes.read_bytes(server.pid)
            kept_bytes = _go_on(server, location)
            took_ms = (time.monotonic() - ready_s) * 1000
            read_bytes = processes.read_bytes(server.pid) - read_before
            reread_bytes = read_metric(server, "blobd_reread_bytes_total")
        for name, value in (
            (metric.WAIT, took_ms),
            (metric.REREAD, reread_bytes / MIB),
            ("read by the process meanwhile, MiB", read_bytes / MIB),
            ("kept of what was sent, %", kept_bytes / size_bytes * 100),
        ):
            journal.note(Key("resume", case, server.name, name), value)
        for path in sorted(data.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    source.unlink()


def _send_and_kill(server: Server, body: Body) -> str:
    """PATCH all but the end of a body, and kill every process; return where to go on."""
    errand = body.errand(server, "patch")
    with socket.create_connection((HOST, server.port)) as client:
        _, head = ask(client, errand, "POST", errand.target, b"Content-Length: 0\r\n")
        location = field(head, b"location")
        length = b"Content-Length: %d\r\n" % (body.size_bytes + _PIECE_BYTES)
        client.sendall(request(errand, "PATCH", location, length))
        file = os.open(body.source, os.O_RDONLY)
        try:
            source_bytes = os.fstat(file).st_size
            sent_bytes = 0
            while sent_bytes < body.size_bytes:
                offset = sent_bytes % source_bytes
                want = min(body.size_bytes - sent_bytes, source_bytes - offset, _SENDFILE_BYTES)
                sent_bytes += os.sendfile(client.fileno(), file, offset, want)
        finally:
            os.close(file)
        _await_bytes(server, body.size_bytes)
        for pid in list(processes.family(server.pid)):
            os.kill(pid, signal.SIGKILL)
    return location


def _await_bytes(server: Server, size_bytes: int) -> None:
    """Wait until the daemon has received about all that was sent."""
    deadline_s = time.monotonic() + 60
    while read_metric(server, "blobd_received_bytes_total") < size_bytes - 8 * MIB:
        if time.monotonic() > deadline_s:
            raise RuntimeError("the daemon did not receive what was sent")
        time.sleep(0.05)


def _go_on(server: Server, location: str) -> int:
    """Ask for the offset and PATCH a KiB there; return the offset."""
    path = "/" + location.split("/", 3)[3] if location.startswith("http") else location
    with socket.create_connection((HOST, server.port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        status, head = answer(client)
        if status != 204:
            raise RuntimeError(f"the upload is not there any more: {head!r}")
        last = int(field(head, b"range").partition("-")[2])
        offset = last + 1 if last else 0
        piece = (
            f"PATCH {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {_PIECE_BYTES}\r\n"
            f"Content-Range: {offset}-{offset + _PIECE_BYTES - 1}\r\n"
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        client.sendall(piece.encode() + bytes(_PIECE_BYTES))
        status, head = answer(client)
        if status != 202:
            raise RuntimeError(f"going on was answered {head!r}")
    return offset
