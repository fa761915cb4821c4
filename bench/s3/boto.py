"""boto3 by itself, in a process of its own: `python -m bench.s3.boto`, told by JSON lines."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from bench.workforce import work


@dataclass(frozen=True, slots=True)
class Errand:
    """One transfer."""

    act: str
    """`upload` a file, `download` an object to nowhere, or `begin`: get an object's first byte."""
    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    region: str
    bucket: str
    key: str
    source: str
    part_bytes: int
    concurrency: int
    signs_bodies: bool
    """As boto3 does by itself over plain http: a SHA-256 of each body goes with it."""


@dataclass(frozen=True, slots=True)
class Times:
    """When it happened, by CLOCK_MONOTONIC, and what it cost this process."""

    start_s: float
    end_s: float
    cpu_s: float


def transfer(errand: Errand) -> Times:
    """Act once, on a client that has been made and has a connection."""
    client = _client(errand)
    client.list_objects_v2(Bucket=errand.bucket, MaxKeys=1)
    config = TransferConfig(
        multipart_threshold=errand.part_bytes,
        multipart_chunksize=errand.part_bytes,
        max_concurrency=errand.concurrency,
    )
    cpu_s, start_s = time.process_time(), time.monotonic()
    match errand.act:
        case "upload":
            with open(errand.source, "rb") as file:  # noqa: PTH123 as its users do
                client.upload_fileobj(file, errand.bucket, errand.key, Config=config)
        case "download":
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
                client.download_fileobj(errand.bucket, errand.key, nowhere, Config=config)
        case _:
            with client.get_object(Bucket=errand.bucket, Key=errand.key)["Body"] as body:
                body.read(1)
    return Times(start_s, time.monotonic(), time.process_time() - cpu_s)


def _client(errand: Errand) -> Any:
    style: dict[str, object] = {"addressing_style": "path"}
    if not errand.signs_bodies:
        style["payload_signing_enabled"] = False
    return boto3.client(
        "s3",
        endpoint_url=errand.endpoint_url,
        aws_access_key_id=errand.access_key_id,
        aws_secret_access_key=errand.secret_access_key,
        region_name=errand.region,
        config=Config(
            s3=style,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def transfer_all(errands: list[Errand]) -> list[Times]:
    """Transfer one after another."""
    return [transfer(errand) for errand in errands]


if __name__ == "__main__":
    work(Errand, transfer_all)
