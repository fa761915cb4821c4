"""The least that a registry could do: receive one body, hash it, write it, in turn.

`python bare_receiver.py FILE` prints its port, answers one PUT with 201, and ends when its standard
input does. It is the yardstick for what blobd's own receiving costs.
"""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from pathlib import Path

_BUFFER_BYTES = 1024 * 1024


def receive(connection: socket.socket, path: Path) -> str:
    """Write the body of one request to a file; return its SHA-256."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    with path.open("wb", buffering=0) as file:
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        assert length is not None
        left_bytes = int(length[1])
        while left_bytes:
            received = buffer[: connection.recv_into(buffer, min(left_bytes, _BUFFER_BYTES))]
            assert received, "the sender went away"
            digest.update(received)
            file.write(received)
            left_bytes -= len(received)
    return digest.hexdigest()


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        connection, _ = listener.accept()
        with connection:
            found = receive(connection, Path(sys.argv[1]))
            connection.sendall(
                f"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nDigest: {found}\r\n\r\n".encode()
            )
        sys.stdin.read()
