"""A daemon under test: talk to it, look into its folder, and see that others are served too."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

from tests.api.document import Document
from tests.http.talk import LAST_CHUNK, Talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.daemon import Daemon
    from tests.http.talk import Answer

_PATIENCE_S = 60.0
_TICK_S = 0.05
_STEP_BYTES = 16 * 1024

EMPTY = f"sha256:{sha256().hexdigest()}"


def some_bytes(size_bytes: int) -> bytes:
    """Return bytes that no other call returns."""
    return random.SystemRandom().randbytes(size_bytes) if size_bytes else b""


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that is about to happen. Fails after a minute."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not so after {_PATIENCE_S} s: {what}"
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Served:
    """A running daemon; every answer it gives is held against `openapi.yaml`."""

    daemon: Daemon
    document: Document = field(default_factory=Document)

    def talk(self, *, receive_bytes: int | None = None) -> Talk:
        """Connect to the blob API."""
        address = self.daemon.blob_api_url.removeprefix("http://")
        return Talk(address, check=self.document.check, receive_bytes=receive_bytes)

    def ask(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Make one request on a connection of its own."""
        with self.talk() as talk:
            return talk.ask(method, target, headers, body)

    def start(self, query: str = "") -> str:
        """Open an upload; return its path, without an offset."""
        answer = self.ask("POST", f"/uploads{query}")
        assert (answer.status, answer.headers["Range"]) == (202, "0-0")
        assert answer.location.endswith(".0")
        return upload_of(answer)

    def store(self, data: bytes) -> str:
        """Store a blob; return its path."""
        answer = self.ask("POST", f"/uploads?digest={digest_of(data)}", body=data)
        assert answer.status == 201
        return answer.location

    def offset(self, upload: str) -> int | None:
        """Return how many bytes an upload has; None when it is gone."""
        answer = self.ask("GET", upload)
        if answer.status == 404:
            return None
        assert answer.status == 204
        assert answer.headers["Docker-Upload-UUID"] == upload.rpartition("/")[2]
        assert upload_of(answer) == upload
        (found,) = [
            each["offset"]
            for each in answer_json(self.ask("GET", "/uploads"))["uploads"]
            if each["id"] == upload.rpartition("/")[2]
        ]
        assert answer.headers.get("Range") == (f"0-{found - 1}" if found else None)
        assert answer.location == f"{upload}.{found}"
        assert isinstance(found, int)
        return found

    def holds(self, data: bytes) -> bool:
        """Whether exactly these bytes are stored under their digest."""
        answer = self.ask("GET", f"/blobs/{digest_of(data)}")
        assert answer.status == 404 or answer.body == data
        return answer.status == 200

    def has_writer(self, upload: str) -> bool:
        """Whether some request is the writer of an upload at this moment."""
        folder = os.path.realpath(self.daemon.data / upload.removeprefix("/"))
        return any(path.startswith(folder) for path in self.daemon.open_files())

    def is_at_rest(self) -> bool:
        """Whether nothing is open, leased or running, and nothing half-stored lies about."""
        inside = [path for path in self.daemon.open_files() if self._is_data(path)]
        in_flight = ("blobd_uploads_in_flight", "blobd_in_flight_bytes")
        return not inside and not any(map(self.daemon.metric, in_flight)) and self._is_tidy()

    def _is_data(self, path: str) -> bool:
        folders = (self.daemon.data / "blobs", self.daemon.data / "uploads")
        return path.startswith(tuple(os.path.realpath(folder) for folder in folders))

    def _is_tidy(self) -> bool:
        """Whether every upload's folder is an open upload's, or a receipt."""
        listed = {each["id"] for each in answer_json(self.ask("GET", "/uploads"))["uploads"]}
        for folder in (self.daemon.data / "uploads").iterdir():
            staged = any((folder / name).exists() for name in ("bytes", "provisional"))
            if staged and folder.name not in listed:
                return False
            if not (folder / "record").exists():
                return False
        return True

    def sockets(self) -> int:
        """Return how many sockets the daemon has open."""
        return sum(path.startswith("socket:") for path in self.daemon.open_files())


def upload_of(answer: Answer) -> str:
    """Return an upload's path as it stays, without the offset of its Location."""
    path, dot, _ = answer.location.partition(".")
    assert dot
    return path


def answer_json(answer: Answer) -> dict[str, Any]:
    document = json.loads(answer.body)
    assert isinstance(document, dict)
    return document


@dataclass(frozen=True, slots=True)
class PassedBy:
    """A blob that takes a bystander a while to read."""

    path: str
    data: bytes

    @classmethod
    def store(cls, served: Served) -> PassedBy:
        data = some_bytes(8 * 1024 * 1024)
        return cls(served.store(data), data)


class Bystander:
    """Someone else's upload and download, going on all the while, and whole at the end."""

    def __init__(self, served: Served, blob: PassedBy) -> None:
        self._served = served
        self._blob = blob
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self._sent = bytearray()
        self._read = bytearray()
        self._failures: list[Exception] = []

    def __enter__(self) -> Self:
        self._upload = self._served.start()
        self._up = self._served.talk()
        self._up.head("PATCH", self._upload, {"Transfer-Encoding": "chunked"})
        self._down = self._served.talk(receive_bytes=_STEP_BYTES)
        self._down.head("GET", self._blob.path)
        assert self._down.answer_head().status == 200
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        try:
            assert not self._failures, "the bystander's transfers were disturbed"
            self._up.send(LAST_CHUNK)
            assert self._up.answer().status == 202
            target = f"{self._upload}?digest={digest_of(bytes(self._sent))}"
            assert self._served.ask("PUT", target).status == 201
            self._read += self._down.read(len(self._blob.data) - len(self._read))
            assert self._read == self._blob.data
        finally:
            self._up.close()
            self._down.close()

    def _go_on(self) -> None:
        try:
            while not self._over.wait(_TICK_S):
                step = some_bytes(_STEP_BYTES)
                self._up.chunk(step)
                self._sent += step
                if len(self._read) + _STEP_BYTES < len(self._blob.data):
                    self._read += self._down.read(_STEP_BYTES)
        except Exception as error:  # noqa: BLE001 told on the test's own thread
            self._failures.append(error)
