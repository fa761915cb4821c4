"""The floor: the least a program can do to receive, hash and write a body, one step at a time.

One process, one client at a time: receive into 1 MiB, hash with OpenSSL, write, again. It keeps
no session, syncs nothing and answers every PUT with 201. What a server needs beyond this is its
overhead; what it needs less of wall time than this, it gained by doing things at once.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from contextlib import suppress

_BUFFER_BYTES = 1024 * 1024
_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def receive(client: socket.socket, path: str) -> str:
    """Store one PUT's body under `path`; return its hex digest.

    Raises ValueError on a bad head, and when the client hangs up, as who only looks whether the
    port is open does.
    """
    head = b""
    while b"\r\n\r\n" not in head:
        more = client.recv(4096)
        if not more:
            raise ValueError("no request came")
        head += more
    head, _, body = head.partition(b"\r\n\r\n")
    lengths = [
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    if len(lengths) != 1:
        raise ValueError("the floor wants one Content-Length")
    left_bytes = lengths[0] - len(body)
    hasher = hashlib.sha256(body)
    view = memoryview(bytearray(_BUFFER_BYTES))
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(file, body)
        while left_bytes:
            count = client.recv_into(view, min(left_bytes, _BUFFER_BYTES))
            if not count:
                raise ValueError("the body broke off")
            part = view[:count]
            hasher.update(part)
            os.write(file, part)
            left_bytes -= count
    finally:
        os.close(file)
    client.sendall(_ANSWER)
    return hasher.hexdigest()


def main() -> None:
    """Listen on the port named first, write to the file named second, until killed."""
    port, path = int(sys.argv[1]), sys.argv[2]
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            client, _ = listener.accept()
            with client, suppress(ValueError):
                receive(client, path)


if __name__ == "__main__":
    main()
