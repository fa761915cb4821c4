"""What all S3 engines are to tests: a life, and buckets to look into around blobd."""

from __future__ import annotations

import secrets
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.engines.process import Process


@dataclass(frozen=True, slots=True)
class Access:
    """How an engine is reached, and by whom."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"

    def client(self) -> Any:
        """Return a boto3 client that gives up in a minute."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            region_name=self.region,
            config=Config(
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=32,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )


class Bucket:
    """One bucket, seen through boto3 alone."""

    def __init__(self, access: Access, name: str) -> None:
        self.access = access
        self.name = name
        self.client = access.client()

    def settings(self, *, endpoint_url: str | None = None) -> dict[str, str]:
        """Return what tells blobd to keep its bytes here, through another endpoint if one is given.

        Credentials are among them.
        """
        return {
            "store.backend": "s3",
            "s3.endpoint_url": endpoint_url or self.access.endpoint_url,
            "s3.region": self.access.region,
            "s3.bucket": self.name,
            "s3.path_style": "true",
            "s3.access_key_id": self.access.access_key_id,
            "s3.secret_access_key": self.access.secret_access_key,
        }

    def keys(self, prefix: str = "") -> list[str]:
        """Return the names of all objects below a prefix, in order."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def read(self, key: str) -> bytes | None:
        """Return an object's bytes, or None where there is none."""
        try:
            answer = self.client.get_object(Bucket=self.name, Key=key)
        except self.client.exceptions.NoSuchKey:
            return None
        data: bytes = answer["Body"].read()
        return data

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def delete(self, *keys: str) -> None:
        # One by one: not every engine takes DeleteObjects as boto3 sends it.
        for key in keys:
            self.client.delete_object(Bucket=self.name, Key=key)

    def multipart_uploads(self) -> list[tuple[str, str]]:
        """Return key and id of every multipart upload that is neither completed nor aborted."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name)
        return [(one["Key"], one["UploadId"]) for page in pages for one in page.get("Uploads", ())]

    def parts(self, key: str, upload_id: str) -> Iterator[tuple[int, int]]:
        """Find number and bytes of the parts of a multipart upload."""
        pages = self.client.get_paginator("list_parts").paginate(
            Bucket=self.name, Key=key, UploadId=upload_id
        )
        for page in pages:
            for part in page.get("Parts", ()):
                yield part["PartNumber"], part["Size"]

    def clear(self) -> None:
        """Remove everything."""
        for key, upload_id in self.multipart_uploads():
            self.client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=upload_id)
        self.delete(*self.keys())


class S3Engine(ABC):
    """A running server, as a context manager that removes all it has stored."""

    name: ClassVar[str]
    least_part_bytes = 5 * 1024 * 1024
    """Of every part but the last, as the engine ships: AWS's "Multipart upload limits"."""
    forgets = False
    """Whether it keeps everything in memory, so that a kill loses it."""

    def __init__(self, access: Access, folder: Path, processes: Sequence[Process]) -> None:
        """Prepare what `start` has to bring up; the folder holds all of its state."""
        self.access = access
        self.folder = folder
        self.processes = processes

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    @abstractmethod
    def start(self) -> None:
        """Start on what is there, at the same address each time; return once it serves."""

    def kill(self) -> None:
        """Kill -9 all of its processes."""
        for process in self.processes:
            process.kill()

    def restart(self) -> None:
        """Kill -9, and start on what is there."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop all of its processes where they are: connections stay, and nothing is answered."""
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        for process in self.processes:
            process.thaw()

    def collect(self) -> None:  # noqa: B027 most engines need not be asked
        """Give back the memory of what was deleted, where that would happen later by itself."""

    def make_bucket(self) -> Bucket:
        """Make a bucket of a new name."""
        bucket = Bucket(self.access, f"blobd-{secrets.token_hex(6)}")
        bucket.client.create_bucket(Bucket=bucket.name)
        return bucket

    def _serves(self) -> bool:
        try:
            self.access.client().list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    def _remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder)
