"""How often the engine is asked: bytes are sent once, and a commit costs the same at any size."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.api.served import EMPTY, digest_of, some_bytes
from tests.engines.every import EVERY
from tests.s3.conftest import MIB, PART_BYTES

if TYPE_CHECKING:
    from tests.api.served import Served
    from tests.engines.s3 import S3Engine
    from tests.relay.relay import Relay

pytestmark = pytest.mark.parametrize("engine", EVERY, indirect=True)

LOOKS = {"moto": 0, "ceph": 0, "seaweedfs": 0, "swift": 1}
"""What each record costs more where the engine does not say who was first: a look after it."""


def requests(relay: Relay) -> Counter[str]:
    """Return what was asked, but for what a push never asks: that fails at once."""
    asked = Counter(passage.operation for passage in relay.passages())
    assert not {"CopyObject", "UploadPartCopy", "ListMultipartUploads", "ListParts"} & asked.keys()
    return asked


def sent_bytes(relay: Relay) -> int:
    return sum(
        passage.body_bytes for passage in relay.passages() if passage.key.startswith("objects/")
    )


@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.parametrize("more", [5, 6], ids=["POST", "POST and PUT"])
def test_a_single_body_costs_its_parts_and_five(
    served: Served, relay: Relay, engine: S3Engine, parts: int, more: int
) -> None:
    """Issue: single PUT ≤ parts + 5, session records included; no byte twice, none read back.

    Where the session's URL has been told to the client, somebody else may have written to it: to
    look costs one more.
    """
    data = some_bytes((parts - 1) * PART_BYTES + 1)
    if more == 5:
        served.store(data)
    else:
        upload = served.start()
        assert served.ask("PUT", f"{upload}?digest={digest_of(data)}", body=data).status == 201
    asked = requests(relay)
    assert asked["UploadPart"] == parts
    assert asked["GetObject"] <= LOOKS[engine.name]
    assert asked.total() <= parts + more + 2 * LOOKS[engine.name]
    assert sum(one.body_bytes for one in relay.passages("UploadPart")) == len(data)
    assert served.holds(data)


def test_post_patch_put_costs_its_parts_and_eight(
    served: Served, relay: Relay, engine: S3Engine
) -> None:
    """Issue: POST+PATCH+PUT ≤ parts + 8; the end of the upload is sent once more, as its tail."""
    data = some_bytes(4 * PART_BYTES + MIB)
    upload = served.start()
    assert served.ask("PATCH", upload, body=data).status == 202
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
    asked = requests(relay)
    assert asked["UploadPart"] == 5
    assert asked.total() <= 5 + 8 + 3 * LOOKS[engine.name]
    assert served.holds(data)


@pytest.mark.parametrize("size_bytes", [1, 4096, PART_BYTES])
def test_a_small_blob_is_one_object(
    served: Served, relay: Relay, engine: S3Engine, size_bytes: int
) -> None:
    """Issue: ≤ one part is one PutObject and one index record, beside the session's two."""
    data = some_bytes(size_bytes)
    served.store(data)
    asked = requests(relay)
    assert asked["CreateMultipartUpload"] == asked["UploadPart"] == 0
    assert asked["PutObject"] == 4
    assert asked.total() <= 4 + 2 * LOOKS[engine.name]
    assert served.holds(data)


def test_an_empty_blob_is_no_object(served: Served, relay: Relay) -> None:
    """Zero bytes are in no object: an index record says all of it."""
    upload = served.start()
    assert served.ask("PUT", f"{upload}?digest={EMPTY}").status == 201
    asked = requests(relay)
    assert asked["PutObject"] == 3
    assert served.holds(b"")


def test_patches_of_any_size_join_into_equal_parts(served: Served, relay: Relay) -> None:
    """Issue: 1 byte to many parts; all but the last have one size."""
    sizes = [1, 2 * MIB, 7, 11 * MIB + 3, 1, PART_BYTES, PART_BYTES - 1, 3]
    data = some_bytes(sum(sizes))
    upload, start = served.start(), 0
    for size_bytes in sizes:
        piece = data[start : start + size_bytes]
        assert served.ask("PATCH", upload, body=piece).status == 202
        start += size_bytes
    assert served.ask("PUT", f"{upload}?digest={digest_of(data)}").status == 201
    parts = [passage.body_bytes for passage in relay.passages("UploadPart")]
    assert parts == [PART_BYTES] * (len(data) // PART_BYTES) + [len(data) % PART_BYTES]
    assert served.holds(data)
