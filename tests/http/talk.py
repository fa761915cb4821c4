"""HTTP/1.1 spoken byte by byte over a plain socket: what no client library lets a test do."""

from __future__ import annotations

import http.client
import json
import select
import socket
import struct
import threading
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PATIENCE_S = 60.0
_PIECE_BYTES = 64 * 1024
_STALLED_S = 0.3

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response, read whole."""

    status: int
    reason: str
    headers: http.client.HTTPMessage
    body: bytes
    closes: bool
    """Whether it says that it is the connection's last."""

    @property
    def code(self) -> str:
        """The code of the one error that it tells."""
        (error,) = json.loads(self.body)["errors"]
        assert isinstance(error["code"], str)
        return error["code"]

    @property
    def message(self) -> str:
        (error,) = json.loads(self.body)["errors"]
        assert isinstance(error["message"], str)
        return error["message"]

    @property
    def location(self) -> str:
        return self.headers["Location"]


class Pour:
    """Zeros on their way to a server that may not want them."""

    def __init__(self, total_bytes: int) -> None:
        self.left_bytes = total_bytes
        self._over = threading.Event()

    def is_taken(self) -> bool:
        """Wait for the end; return whether all was taken."""
        assert self._over.wait(_PATIENCE_S), (
            f"{self.left_bytes} bytes are neither taken nor refused"
        )
        return self.left_bytes == 0

    def stalled_at_bytes(self) -> int:
        """Wait until nothing more is taken for a while; return what is left to send."""
        left_bytes = -1
        while left_bytes != self.left_bytes:
            left_bytes = self.left_bytes
            time.sleep(_STALLED_S)
        return left_bytes

    def into(self, sink: socket.socket) -> None:
        with suppress(OSError):
            while self.left_bytes:
                self.left_bytes -= sink.send(bytes(min(self.left_bytes, _PIECE_BYTES)))
        self._over.set()


class Talk:
    """One connection, blocking, as a context manager. It waits a minute and then fails."""

    def __init__(
        self,
        address: str,
        *,
        check: Callable[[str, str, Answer], None] | None = None,
        receive_bytes: int | None = None,
    ) -> None:
        """Connect to host:port; `check` sees the method, the target and every final answer.

        `receive_bytes` is the size of the kernel's buffer for what is not read yet.
        """
        host, _, port = address.rpartition(":")
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(_PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect((host, int(port)))
        self._file = self.socket.makefile("rb")
        self._check = check
        self._asked: deque[tuple[str, str]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up in order."""
        self._file.close()
        self.socket.close()

    def vanish(self) -> None:
        """Hang up with a reset, as a client that is killed does."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    # Saying

    def head(
        self, method: str, target: str, headers: Mapping[str, str | int] | None = None
    ) -> None:
        """Send a head; its answer is expected after those of all heads before."""
        self._asked.append((method, target))
        named = {"Host": "blobd", **(headers or {})}
        lines = [f"{name}: {value}" for name, value in named.items()]
        self.send("\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1"))

    def invited(self, method: str, target: str, headers: Mapping[str, str | int]) -> None:
        """Send a head and wait until its body is wanted: until then nobody reads or writes."""
        self.head(method, target, {**headers, "Expect": "100-continue"})
        assert self.answer().status == 100

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    @contextmanager
    def pouring(self, total_bytes: int) -> Iterator[Pour]:
        """Send zeros beside the block, whatever is answered."""
        pour = Pour(total_bytes)
        thread = threading.Thread(target=pour.into, args=(self.socket,))
        thread.start()
        try:
            yield pour
        finally:
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            thread.join()

    # Hearing

    def answer(self) -> Answer:
        """Read the next answer, `100 Continue` included. Raises what the socket raises."""
        answer = self._read_head()
        method, target = self._asked[0] if self._asked else ("", "")
        if answer.status == 100:
            return answer
        if method != "HEAD":
            size_bytes = int(answer.headers.get("Content-Length", "0"))
            body = self._file.read(size_bytes)
            if len(body) != size_bytes:
                raise ConnectionAbortedError(f"{len(body)} of {size_bytes} bytes")
            answer = replace(answer, body=body)
        if self._asked:
            self._asked.popleft()
            if self._check is not None:
                self._check(method, target, answer)
        return answer

    def answer_head(self) -> Answer:
        """Read the head of an answer and leave its body on the wire."""
        if self._asked:
            self._asked.popleft()
        return self._read_head()

    def has_answer(self) -> bool:
        """Whether there is something to read already."""
        return bool(select.select([self.socket], [], [], 0)[0])

    def read(self, size_bytes: int) -> bytes:
        """Read so many bytes of a body; fewer only where the connection ends."""
        return self._file.read(size_bytes)

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str | int] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Make one whole request; a body goes with its length."""
        length = {} if body is None else {"Content-Length": len(body)}
        self.head(method, target, {**length, **(headers or {})})
        if body:
            self.send(body)
        return self.answer()

    def is_closed(self) -> bool:
        """Whether the other side ends the connection, in order and saying nothing more."""
        return self._file.read(1) == b""

    def _read_head(self) -> Answer:
        line = self._file.readline(65536)
        if not line:
            raise ConnectionAbortedError("the connection ended without an answer")
        version, status, reason = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
        headers = http.client.parse_headers(self._file)
        keeps = headers.get("Connection", "keep-alive" if version == "HTTP/1.1" else "close")
        return Answer(int(status), reason, headers, b"", closes=keeps.lower() == "close")
