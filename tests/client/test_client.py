"""The client's other verbs, its errors, and where it connects."""

from __future__ import annotations

import json

import pytest

from blobd.client import Client, ClientError, Digest, NotFound, Retries, Unavailable, Unreachable
from blobd.client.errors import AnswerMalformed, Denied, Refused, refusal
from blobd.errors import BlobdError
from tests.client.scripted import Fault, Script


async def test_stat_tells_the_size(client: Client, script: Script) -> None:
    """In bytes, or NotFound."""
    digest = Digest.parse(script.store(b"12345"))
    assert await client.stat(digest) == 5
    with pytest.raises(NotFound) as caught:
        await client.stat(Digest("sha256", "0" * 64))
    assert caught.value.code == "BLOB_UNKNOWN"


async def test_an_upload_is_followed_and_cancelled(client: Client, script: Script) -> None:
    """Offset while it is open, NotFound afterwards."""
    upload_id = await client.requests.begin()
    assert upload_id is not None
    script.uploads[upload_id] += b"x" * 77
    assert await client.offset(upload_id) == 77
    await client.cancel(upload_id)
    with pytest.raises(NotFound):
        await client.offset(upload_id)


async def test_listings_are_followed_to_their_end(client: Client, script: Script) -> None:
    """Page after page, each asked for with the digest that the last one named."""
    first, second = (Digest("sha256", letter * 64) for letter in "ab")

    def page(digest: Digest, following: Digest | None) -> Fault:
        document = {
            "blobs": [{"digest": str(digest), "size": 3}],
            "next": str(following) if following else None,
        }
        return Fault("GET", answer=(200, {}, json.dumps(document).encode()))

    script.faults.extend([page(first, first), page(second, None)])
    assert [blob.digest async for blob in client.blobs()] == [first, second]
    assert [asked.target for asked in script.asked] == ["/blobs", f"/blobs?after={first}"]


async def test_open_uploads_are_listed(client: Client, script: Script) -> None:
    """Every field of the blob API's JSON arrives typed."""
    entry = {
        "id": "a" * 32,
        "offset": 5,
        "algorithm": "sha256",
        "owner": "blob-api",
        "created_at": 1.5,
        "touched_at": 2,
    }
    body = json.dumps({"uploads": [entry]}).encode()
    script.faults.append(Fault("GET", answer=(200, {}, body)))
    (upload,) = await client.uploads()
    assert (upload.id, upload.offset, upload.touched_at) == ("a" * 32, 5, 2.0)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"uploads":[{"id":1}]}'])
async def test_a_strange_answer_is_told_as_such(
    client: Client, script: Script, body: bytes
) -> None:
    """Another server's JSON, or none, is AnswerMalformed and nothing else."""
    script.faults.append(Fault("GET", answer=(200, {}, body)))
    with pytest.raises(AnswerMalformed):
        await client.uploads()


async def test_the_token_goes_with_every_request(script: Script) -> None:
    """As a bearer token in Authorization."""
    async with Client(script.address, "sesame") as client:
        await client.push(b"x")
    assert [asked.headers.get("authorization") for asked in script.asked] == ["Bearer sesame"]


async def test_nobody_there_is_unreachable() -> None:
    """After the tries are used up, in words that name the address."""
    retries = Retries(in_a_row=1, first_delay_s=0.001)
    async with Client("unix:/nonexistent/socket", retries=retries) as client:
        with pytest.raises(Unreachable) as caught:
            await client.uploads()
    assert caught.value.status is None


@pytest.mark.parametrize("address", ["", "127.0.0.1:5080", "ftp://host", "unix:", "http://"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    """ValueError before anything is opened."""
    with pytest.raises(ValueError, match="no address"):
        Client(address)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (408, Unavailable),
        (413, Denied),
        (429, Unavailable),
        (503, Unavailable),
        (507, Refused),
    ],
)
def test_refusals_are_told_apart_by_what_helps(status: int, kind: type[Refused]) -> None:
    """Only trouble that passes is retryable; every one is a ClientError and a BlobdError."""
    error = refusal(status, {}, b'{"errors":[{"code":"CODE","message":"told"}]}')
    assert type(error) is kind
    assert (error.code, error.message, error.status) == ("CODE", "told", status)
    assert error.retryable == (kind is Unavailable)
    assert isinstance(error, ClientError)
    assert isinstance(error, BlobdError)
