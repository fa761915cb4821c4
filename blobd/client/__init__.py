"""The Python client of blobd's blob API, for registry frontends and scripts.

    from blobd.client import Client, Digest

    async with Client("http://127.0.0.1:5080") as client:        # or "unix:/run/blobd.sock"
        blob = await client.push("layer.tar.gz")                 # a path, bytes, or async pieces
        await client.pull(blob.digest, "copy.tar.gz")            # verified, then renamed into place
        async for piece in client.read(blob.digest):             # or streamed
            ...

A push hashes the bytes once, while they are being sent. When the connection drops, or the server
restarts, push and pull go on at the exact byte where they stood. What goes wrong for good is a
`ClientError`: `code` and `message` as the server sent them, `status`, and for a push `upload_id`,
with which a later process continues: `client.push("layer.tar.gz", upload_id=...)`.

A frontend that receives pieces itself and passes them on uses `client.requests`: every request of
the blob API as one call, without retries.
"""

from __future__ import annotations

from blobd.client.backoff import Retries
from blobd.client.client import Client
from blobd.client.errors import (
    AnswerMalformed,
    ClientError,
    Denied,
    DigestWrong,
    Misplaced,
    NotFound,
    Refused,
    SourceChanged,
    SourceSpent,
    Unavailable,
    Unreachable,
)
from blobd.client.models import Blob, BlobPage, Progress, Upload
from blobd.client.requests import Requests
from blobd.digest import Digest, Span

__all__ = [
    "AnswerMalformed",
    "Blob",
    "BlobPage",
    "Client",
    "ClientError",
    "Denied",
    "Digest",
    "DigestWrong",
    "Misplaced",
    "NotFound",
    "Progress",
    "Refused",
    "Requests",
    "Retries",
    "SourceChanged",
    "SourceSpent",
    "Span",
    "Unavailable",
    "Unreachable",
    "Upload",
]
