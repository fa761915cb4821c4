"""What crashes have left in a bucket, as an operator sees it: `blobd uploads ls`, `blobd fsck`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.served import some_bytes, until
from tests.cli.processes import run_blobd
from tests.engines.every import EVERY, MOTO

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.served import Served
    from tests.engines.s3 import Bucket

    Told = Callable[..., Any]

OURS = f"objects/{'a' * 32}-{'b' * 16}"
THEIRS = "objects/readme.txt"


@pytest.fixture
def told(bucket: Bucket, served: Served) -> Told:
    """Run a command beside the daemon, without grace for the young; return what it says."""
    settings = {
        **bucket.settings(),
        "upkeep.orphan_grace_s": "0",
        "s3.presign_lifetime_s": "1",
    }
    options = [f"--set={name}={value}" for name, value in settings.items()]

    def run(*words: str, code: int = 0) -> Any:
        ended = run_blobd(*words, "--json", "--data", served.daemon.data, *options)
        assert ended.returncode == code, ended.stderr.decode()
        return json.loads(ended.stdout)

    return run


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_open_uploads_are_listed_apart_from_what_crashes_left(served: Served, told: Told) -> None:
    """Issue: `blobd uploads ls` reports orphans; the object of a replaced blob is one in time."""
    upload = served.start()
    assert served.ask("PATCH", upload, body=b"12345").status == 202
    data = some_bytes(1000)
    for _ in range(2):
        served.store(data)
    until(lambda: told("uploads", "ls")["orphans"], "the replaced object is old enough")
    listed = told("uploads", "ls")
    assert [(each["upload_id"], each["offset"]) for each in listed["uploads"]] == [
        (upload.rpartition("/")[2], 5)
    ]
    (orphan,) = listed["orphans"]
    assert (orphan["kind"], orphan["size_bytes"], orphan["removed"]) == ("replaced", 1000, False)
    assert told("fsck") == [orphan]
    assert told("fsck", "--remove") == [{**orphan, "removed": True}]
    assert told("uploads", "ls")["orphans"] == []
    assert served.holds(data)
    assert served.offset(upload) == 5


@pytest.mark.parametrize("engine", [MOTO], indirect=True)  # its multipart uploads are born old
def test_a_multipart_upload_that_no_session_names_is_listed(bucket: Bucket, told: Told) -> None:
    """Issue: nothing not understood is touched, nor told."""
    for key in (OURS, THEIRS):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    (orphan,) = told("uploads", "ls")["orphans"]
    assert (orphan["kind"], orphan["name"]) == ("multipart", OURS)
    told("fsck", "--remove")
    assert [key for key, _ in bucket.multipart_uploads()] == [THEIRS]


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_only_fsck_compares_records_with_objects(
    served: Served, bucket: Bucket, told: Told
) -> None:
    """Issue: objects without a record, and records without an object, which stay as they are."""
    served.store(some_bytes(1000))
    (lost,) = bucket.keys("objects/")
    bucket.delete(lost)
    for key in (OURS, THEIRS):
        bucket.write(key, b"?")
    until(lambda: len(told("fsck", code=1)) == 2, "the object is old enough")
    assert told("uploads", "ls")["orphans"] == []
    found = told("fsck", "--remove", code=1)
    assert [(each["kind"], each["removed"]) for each in found] == [
        ("blob", False),
        ("object", True),
    ]
    assert lost in found[0]["name"]
    assert bucket.keys("objects/") == [THEIRS]
    assert len(bucket.keys("index/")) == 1
