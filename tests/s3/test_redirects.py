"""Where a GET is sent to: signed in version 4 in every region, and taken by every engine."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest

from blobd.backends.s3.calls import S3Calls
from blobd.config import S3
from blobd.metrics import Metrics
from tests.api.served import digest_of, some_bytes
from tests.engines.every import DURABLE, EVERY, MOTO
from tests.relay.faults import Fault, s3_error
from tests.s3.conftest import PART_BYTES
from tests.s3.test_start import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.s3 import Bucket
    from tests.relay.relay import Relay
    from tests.s3.conftest import Replica

SETTINGS = S3(bucket="some-bucket", access_key_id="AKIDEXAMPLE", secret_access_key="secret")
REGIONS = [
    region
    for partition in boto3.session.Session().get_available_partitions()
    for region in boto3.session.Session().get_available_regions("s3", partition_name=partition)
]


def redirect_of(settings: S3) -> str:
    calls = S3Calls(settings, Metrics())
    try:
        return calls.url("objects/one")
    finally:
        calls.close()


def signed_for(url: str) -> str:
    """Return the region of a URL that is signed in version 4, and in no other."""
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert not {"AWSAccessKeyId", "Signature", "Expires"} & query.keys()
    access_key, _, region, service, end = query["X-Amz-Credential"][0].split("/")
    assert (access_key, service, end) == ("AKIDEXAMPLE", "s3", "aws4_request")
    assert query["X-Amz-Expires"] == ["1200"]
    return region


def test_all_regions_are_known() -> None:
    """Or the tests below would say nothing: among them those that boto3 treats differently."""
    assert {"us-east-1", "eu-west-1", "us-west-2", "eu-central-1", "cn-north-1"} <= set(REGIONS)


@pytest.mark.parametrize("region", REGIONS)
def test_aws_is_sent_version_4_at_the_region_s_own_host(region: str) -> None:
    """AWS refuses version 2 for newer buckets, and the global host sends on what it cannot sign."""
    url = redirect_of(replace(SETTINGS, region=region))
    assert signed_for(url) == region
    host = urlsplit(url).hostname or ""
    assert host.startswith(f"some-bucket.s3.{region}.")


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "us-west-2", "auto", "garage"])
@pytest.mark.parametrize("path_style", [True, False])
def test_any_engine_is_sent_version_4(region: str, path_style: bool) -> None:
    """R2 and Garage take no other; boto3 would choose version 2 for the first three."""
    endpoint = {"endpoint_url": "https://s3.example.org", "path_style": path_style}
    url = redirect_of(replace(SETTINGS, region=region, **endpoint))  # type: ignore[arg-type]
    assert signed_for(url) == region
    assert (urlsplit(url).hostname or "").endswith("s3.example.org")


@pytest.mark.parametrize("engine", EVERY, indirect=True)
def test_the_engine_serves_what_a_redirect_names(replica: Replica) -> None:
    """Whole and in part, without a credential of the client's own."""
    data = some_bytes(PART_BYTES + 9)
    with replica(s3__redirect="true") as served:
        served.store(data)
        url = served.ask("GET", f"/blobs/{digest_of(data)}").headers["Location"]
    assert parse_qs(urlsplit(url).query)["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == data
    end = urllib.request.Request(url, headers={"Range": f"bytes={PART_BYTES}-"})
    with urllib.request.urlopen(end) as answer:
        assert answer.read() == data[PART_BYTES:]


@pytest.mark.parametrize("engine", DURABLE, indirect=True)
def test_a_redirect_is_good_for_one_object(replica: Replica) -> None:
    """These engines check signatures, so the one above is right."""
    one, other = some_bytes(1000), some_bytes(1001)
    with replica(s3__redirect="true") as served:
        for data in (one, other):
            served.store(data)
        urls = [
            urlsplit(served.ask("GET", f"/blobs/{digest_of(data)}").headers["Location"])
            for data in (one, other)
        ]
    stolen = urls[0]._replace(query=urls[1].query).geturl()
    with pytest.raises(urllib.error.HTTPError, match="403") as refusal:
        urllib.request.urlopen(stolen)
    refusal.value.close()


@pytest.mark.parametrize("engine", [MOTO], indirect=True)
def test_a_redirect_that_fails_is_named_at_the_start(
    bucket: Bucket, relay: Relay, tmp_path: Path
) -> None:
    """Every pull would fail: the daemon does not start, and says what helps."""
    settings = bucket.settings(endpoint_url=relay.url)
    relay.plan(Fault("GetObject", s3_error(403, "SignatureDoesNotMatch"), skip=1, times=100))
    line = refused(tmp_path, settings)
    assert f"a redirect to {relay.address} is answered with 403 SignatureDoesNotMatch" in line
    assert "s3.redirect = false" in line
