"""The relay itself, between boto3 and an engine: what it leaves alone, and what it breaks."""

from __future__ import annotations

import os
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.engines.every import EVERY, MOTO
from tests.relay.faults import SLOW_DOWN, Fault, Pause, Reset
from tests.relay.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.s3 import Bucket

_MIB = 1024 * 1024


@pytest.fixture
def relay(bucket: Bucket) -> Iterator[Relay]:
    with Relay(bucket.access.endpoint_url.removeprefix("http://")) as relay:
        yield relay


@pytest.fixture
def client(bucket: Bucket, relay: Relay) -> Any:
    """boto3 through the relay, trying everything once."""
    return boto3.client(
        "s3",
        endpoint_url=relay.url,
        aws_access_key_id=bucket.access.access_key_id,
        aws_secret_access_key=bucket.access.secret_access_key,
        region_name=bucket.access.region,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
        ),
    )


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_what_is_not_planned_passes_unchanged(relay: Relay, client: Any, bucket: Bucket) -> None:
    """Bodies both ways, many requests on a connection, answers of every framing."""
    data = os.urandom(6 * _MIB + 1)
    target = {"Bucket": bucket.name, "Key": "some/key"}
    upload_id = client.create_multipart_upload(**target)["UploadId"]
    parts = []
    for number, body in enumerate((data, b"rest"), start=1):
        part = client.upload_part(**target, UploadId=upload_id, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    client.complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload={"Parts": parts})
    assert client.head_object(**target)["ContentLength"] == len(data) + 4
    assert client.get_object(**target)["Body"].read() == data + b"rest"
    assert [one["Key"] for one in client.list_objects_v2(Bucket=bucket.name)["Contents"]] == [
        "some/key"
    ]
    client.delete_object(**target)
    seen = [(one.operation, one.status) for one in relay.passages()]
    assert seen == [
        ("CreateMultipartUpload", 200),
        ("UploadPart", 200),
        ("UploadPart", 200),
        ("CompleteMultipartUpload", 200),
        ("HeadObject", 200),
        ("GetObject", 200),
        ("ListObjectsV2", 200),
        ("DeleteObject", 204),
    ]
    assert relay.passages("UploadPart")[0].body_bytes == len(data)
    assert relay.passages("GetObject")[0].key == "some/key"


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
@pytest.mark.parametrize(
    ("fault", "is_done"),
    [
        pytest.param(Fault("PutObject", Reset()), False, id="reset before"),
        pytest.param(Fault("PutObject", Reset(), at_request_byte=300_000), False, id="in the body"),
        pytest.param(Fault("PutObject", Reset(), at_answer_byte=0), True, id="lost answer"),
        pytest.param(Fault("PutObject", SLOW_DOWN), False, id="answered without the engine"),
        pytest.param(Fault("PutObject", SLOW_DOWN, at_answer_byte=0), True, id="a wrong answer"),
    ],
)
def test_a_fault_happens_once_and_where_it_was_planned(
    relay: Relay, client: Any, bucket: Bucket, fault: Fault, is_done: bool
) -> None:
    """Whether the engine has done it is exactly as planned; the next request goes through."""
    relay.plan(replace(fault, skip=1))
    for key, fails in (("before", False), ("hit", True), ("after", False)):
        try:
            client.put_object(Bucket=bucket.name, Key=key, Body=bytes(_MIB))
        except (BotoCoreError, ClientError):
            assert fails
        else:
            assert not fails
    assert bucket.keys() == (["after", "before", "hit"] if is_done else ["after", "before"])


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_an_answer_can_break_off(relay: Relay, client: Any, bucket: Bucket) -> None:
    """At a byte of the answer, its head included."""
    bucket.write("one", bytes(_MIB))
    relay.plan(Fault("GetObject", Reset(), at_answer_byte=500_000))
    body = client.get_object(Bucket=bucket.name, Key="one")["Body"]
    with pytest.raises(BotoCoreError):
        body.read()


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_a_pause_holds_a_request_until_it_is_released(
    relay: Relay, client: Any, bucket: Bucket
) -> None:
    """Nothing arrives meanwhile, all of it afterwards."""
    fault = relay.plan(Fault("PutObject", Pause(), at_request_byte=1000))
    put = Thread(
        target=client.put_object, kwargs={"Bucket": bucket.name, "Key": "a", "Body": bytes(_MIB)}
    )
    put.start()
    fault.wait()
    assert bucket.keys() == []
    fault.release()
    put.join()
    assert bucket.keys() == ["a"]


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_all_connections_can_be_cut(relay: Relay, client: Any, bucket: Bucket) -> None:
    """As when a switch between two machines is turned off."""
    fault = relay.plan(Fault("PutObject", Pause(), at_request_byte=1000))
    failed = []

    def put() -> None:
        try:
            client.put_object(Bucket=bucket.name, Key="a", Body=bytes(_MIB))
        except BotoCoreError as error:
            failed.append(error)

    thread = Thread(target=put)
    thread.start()
    fault.wait()
    relay.cut()
    thread.join()
    assert failed
    assert bucket.keys() == []
