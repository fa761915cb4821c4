"""No number of a multipart upload is ever sent twice with other bytes.

Engines differ in what an overwritten part is. SeaweedFS lists both, completes the upload by the
ETag of either, and serves the bytes of the one that was named; others refuse the older ETag.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.api.served import digest_of, some_bytes, until
from tests.engines.every import MOTO, SEAWEEDFS
from tests.relay.faults import Fault, Pause, Reset
from tests.s3.conftest import MIB, PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.served import Served
    from tests.engines.s3 import Bucket, S3Engine
    from tests.relay.relay import Relay
    from tests.s3.conftest import Replica

pytestmark = pytest.mark.parametrize("engine", [MOTO, SEAWEEDFS], indirect=True)

OVERTAKEN_S = 2.1
"""A session younger than that is taken for its client's next request."""


@pytest.fixture
def replicas(replica: Replica, relay: Relay) -> Iterator[tuple[Served, Served]]:
    """Two daemons that reach the engine through one relay, which sees every part."""
    with ExitStack() as stack:
        yield stack.enter_context(replica(relay)), stack.enter_context(replica(relay))


def parts_of(relay: Relay) -> dict[tuple[str, str], set[str]]:
    """Return, by multipart upload and number, the hashes of what was sent as that part, whole."""
    found: dict[tuple[str, str], set[str]] = {}
    for passage in relay.passages("UploadPart"):
        query = parse_qs(urlsplit(passage.target).query)
        if passage.body_sha256:
            part = query["uploadId"][0], query["partNumber"][0]
            found.setdefault(part, set()).add(passage.body_sha256)
    return found


def check(relay: Relay, served: Served, upload: str, data: bytes) -> None:
    """Finish an upload; check that it is these bytes, and that no part was overwritten."""
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
    assert served.holds(data)
    sent = parts_of(relay)
    assert len(sent) >= 2
    assert all(len(hashes) == 1 for hashes in sent.values()), sent


def test_what_an_engine_makes_of_an_overwritten_part(engine: S3Engine, bucket: Bucket) -> None:
    """What the tests below are about; where it changes, this file says so."""
    client, target = bucket.client, {"Bucket": bucket.name, "Key": "one"}
    upload_id = client.create_multipart_upload(**target)["UploadId"]
    part = {**target, "UploadId": upload_id, "PartNumber": 1}
    first = client.upload_part(**part, Body=b"old")["ETag"]
    client.upload_part(**part, Body=b"new")
    completed = {"MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": first}]}}
    if engine.name != "seaweedfs":
        with pytest.raises(client.exceptions.ClientError, match="InvalidPart"):
            client.complete_multipart_upload(**target, UploadId=upload_id, **completed)
        return
    client.complete_multipart_upload(**target, UploadId=upload_id, **completed)
    assert bucket.read("one") == b"old"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("UploadPart", Reset(), at_answer_byte=0, times=2),
        Fault("UploadPart", Reset(), at_request_byte=MIB, times=2),
    ],
    ids=["an answer is lost", "a part is reset"],
)
def test_a_part_that_is_sent_again_has_the_same_bytes(
    replicas: tuple[Served, Served], relay: Relay, fault: Fault
) -> None:
    """Issue: never rewritten with other bytes; a retry sends the memory that it sent before."""
    served, data = replicas[0], some_bytes(4 * PART_BYTES + 9)
    upload = served.start()
    relay.plan(fault)
    assert served.ask("PATCH", upload, body=data).status == 202
    assert len(relay.passages("UploadPart")) > 4
    check(relay, served, upload, data)


def test_a_successor_numbers_no_part_as_the_one_before(
    replicas: tuple[Served, Served], relay: Relay
) -> None:
    """Issue: take-over by another replica, with other bytes, while a part is still on its way."""
    one, two = replicas
    common, lost = some_bytes(PART_BYTES + 7), some_bytes(3 * PART_BYTES)
    data = common + some_bytes(3 * PART_BYTES)
    upload = one.start()
    assert one.ask("PATCH", upload, body=common).status == 202
    late = relay.plan(Fault("UploadPart", Pause(), at_request_byte=MIB, skip=1))
    with one.talk() as talk:
        talk.head("PATCH", upload, {"Content-Length": len(lost)})
        talk.send(lost[: 2 * PART_BYTES + MIB])
        late.wait()
        time.sleep(OVERTAKEN_S)
        offset = two.offset(upload)
        assert offset is not None
        assert two.ask("PATCH", upload, body=data[offset:]).status == 202
        late.release()
        talk.send(lost[2 * PART_BYTES + MIB :])
        assert talk.answer().status in (416, 503)
    check(relay, two, upload, data)


def test_a_client_that_comes_back_at_once_numbers_no_part_twice(
    replicas: tuple[Served, Served], relay: Relay
) -> None:
    """Issue: take-over within one process, of a writer whose part is on its way."""
    served, data = replicas[0], some_bytes(3 * PART_BYTES + 7)
    upload = served.start()
    late = relay.plan(Fault("UploadPart", Pause(), at_request_byte=MIB, skip=1))
    with served.talk() as talk, ThreadPoolExecutor(1) as pool:
        talk.head("PATCH", upload, {"Content-Length": 4 * PART_BYTES})
        talk.send(some_bytes(2 * PART_BYTES + MIB))
        late.wait()
        coming_back = pool.submit(served.ask, "PATCH", upload, body=data)
        until(lambda: len(relay.passages("ListObjectsV2")) > 0, "somebody else has come")
        late.release()
        assert talk.answer().status == 416
        assert coming_back.result().status == 202
    check(relay, served, upload, data)


@pytest.mark.parametrize("begun_bytes", [0, PART_BYTES + 7], ids=["new", "begun"])
def test_a_put_that_is_undone_leaves_its_numbers_to_nobody(
    replicas: tuple[Served, Served], relay: Relay, begun_bytes: int
) -> None:
    """Issue: an undone PUT, repeated with other bytes, on the same replica and on the other."""
    data = some_bytes(begun_bytes + 3 * PART_BYTES)
    upload = replicas[0].start()
    if begun_bytes:
        assert replicas[0].ask("PATCH", upload, body=data[:begun_bytes]).status == 202
    for served in (replicas[0], replicas[0], replicas[1]):
        target = f"{upload}?digest={digest_of(data)}"
        wrong = some_bytes(len(data) - begun_bytes)
        assert served.ask("PUT", target, body=wrong).status == 400
        assert served.offset(upload) == begun_bytes
    assert replicas[1].ask("PATCH", upload, body=data[begun_bytes:]).status == 202
    check(relay, replicas[1], upload, data)
