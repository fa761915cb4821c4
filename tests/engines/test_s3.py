"""The S3 engines, as far as the tests of blobd lean on them."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.engines.every import DURABLE, EVERY
from tests.engines.s3 import Access

if TYPE_CHECKING:
    from tests.engines.s3 import Bucket, S3Engine

_MIB = 1024 * 1024


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_a_bucket_keeps_what_is_written_around_blobd(bucket: Bucket) -> None:
    """What tests look at and plant there is what S3 says is there."""
    bucket.write("a/b", b"one")
    bucket.write("c", b"two")
    assert bucket.keys() == ["a/b", "c"]
    assert bucket.keys("a/") == ["a/b"]
    assert bucket.read("c") == b"two"
    assert bucket.read("d") is None
    bucket.clear()
    assert bucket.keys() == []


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
def test_objects_and_open_uploads_outlive_kill_9(engine: S3Engine, bucket: Bucket) -> None:
    """Or nothing could be said of what blobd loses when its engine is killed."""
    data = os.urandom(5 * _MIB)
    target = {"Bucket": bucket.name, "Key": "in-parts"}
    upload_id = bucket.client.create_multipart_upload(**target)["UploadId"]
    part = bucket.client.upload_part(**target, UploadId=upload_id, PartNumber=3, Body=data)
    bucket.write("whole", b"whole")
    engine.restart()
    assert bucket.read("whole") == b"whole"
    assert bucket.multipart_uploads() == [("in-parts", upload_id)]
    assert list(bucket.parts("in-parts", upload_id)) == [(3, len(data))]
    bucket.client.complete_multipart_upload(
        **target,
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"PartNumber": 3, "ETag": part["ETag"]}]},
    )
    assert bucket.read("in-parts") == data


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
def test_a_wrong_secret_and_a_wrong_hash_are_refused(bucket: Bucket) -> None:
    """These engines check signatures and bodies, so what blobd signs is right."""
    stranger = Access(bucket.access.endpoint_url, bucket.access.access_key_id, "guessed")
    with pytest.raises(ClientError) as refusal:
        stranger.client().list_objects_v2(Bucket=bucket.name)
    assert refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    url = bucket.client.generate_presigned_url(
        "get_object", Params={"Bucket": bucket.name, "Key": "one"}
    )
    bucket.write("one", b"1")
    assert urllib.request.urlopen(url).read() == b"1"
    with pytest.raises(urllib.error.HTTPError, match="403") as wrong:
        urllib.request.urlopen(url.replace("/one?", "/other?"))
    wrong.value.close()


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_a_frozen_engine_goes_on(engine: S3Engine, bucket: Bucket) -> None:
    """It answers nothing meanwhile, and loses nothing."""
    bucket.write("one", b"1")
    engine.freeze()
    try:
        address = bucket.access.endpoint_url
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(f"{address}/{bucket.name}", timeout=0.5)
    finally:
        engine.thaw()
    assert bucket.read("one") == b"1"
