"""The calls of S3 that blobd makes. All of boto3 is here, and so are all retries.

Every method blocks and runs on a thread (`threads.py`); the client is shared by them. botocore
tries a request again that may pass (a broken connection, 500, 503 SlowDown, a Complete answered
200 with an error in its body); the bytes are still at hand then, in memory that nobody changes
before the call has returned. What
does not pass ends in BackendUnavailable. Two answers are no failures but facts: what is not there
is None, and a multipart upload that has ended is MultipartGone.
"""

from __future__ import annotations

import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.httpsession import URLLib3Session

from blobd.backends.s3_body import Body
from blobd.errors import BackendUnavailable, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from blobd.backends.base import Buffer
    from blobd.config import S3
    from blobd.metrics import Metrics

CONNECTIONS = 32
_PIECE_BYTES = 256 * 1024
_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_GONE = frozenset({"NoSuchUpload", "NoSuchKey", "404"})


class MultipartGone(Exception):
    """A multipart upload that was completed or aborted, by whomever."""


class PartsDiffer(Exception):
    """A multipart upload has other parts than those of which an object was to be made."""


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a listing."""

    key: str
    size_bytes: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class OpenMultipart:
    """A multipart upload that has neither been completed nor aborted."""

    key: str
    multipart_id: str
    begun_at: float


class S3Calls:
    """A bucket, below a prefix. Keys are without it."""

    def __init__(self, settings: S3, metrics: Metrics) -> None:
        """Make the client; asks nobody yet. Raises ConfigInvalid."""
        if not settings.bucket:
            raise ConfigInvalid("s3.bucket = '': must name a bucket where store.backend is s3")
        self._settings = settings
        self._metrics = metrics
        self._bucket = settings.bucket
        self._prefix = settings.prefix.strip("/") + "/" if settings.prefix.strip("/") else ""
        self._attributes = {
            name: value
            for name, value in (
                ("ServerSideEncryption", settings.server_side_encryption),
                ("SSEKMSKeyId", settings.sse_kms_key_id),
                ("StorageClass", settings.storage_class),
            )
            if value
        }
        self.tries = settings.retries + 1
        """How often a request is sent that may pass."""
        self.conditional = False
        """Whether the engine honours If-None-Match on PutObject; the probe finds out."""
        config = BotoConfig(
            region_name=settings.region,
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            retries={"total_max_attempts": self.tries, "mode": "standard"},
            # by itself boto3 presigns in version 2 for some regions, which AWS refuses for buckets
            # made after June 2020, and many engines always
            signature_version="s3v4",
            max_pool_connections=CONNECTIONS,
            request_checksum_calculation=settings.checksum,
            response_checksum_validation=settings.checksum,
            s3={
                "addressing_style": _addressing_style(settings),
                "us_east_1_regional_endpoint": "regional",
                # botocore would hash each body once more, over plain http
                "payload_signing_enabled": False,
            },
        )
        core = botocore.session.get_session()
        self._redirected = URLLib3Session(
            timeout=(settings.connect_timeout_s, settings.read_timeout_s),
            verify=core.get_config_variable("ca_bundle") or True,
        )
        try:
            self._client: Any = boto3.session.Session(botocore_session=core).client(
                "s3",
                endpoint_url=settings.endpoint_url or None,
                aws_access_key_id=settings.access_key_id or None,
                aws_secret_access_key=settings.secret_access_key or None,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigInvalid(f"s3.endpoint_url = {settings.endpoint_url!r}: {error}") from error
        events = self._client.meta.events
        events.register_last("before-call.s3", _leave_out_expect)
        events.register("request-created.s3", self._count_retry)

    def put(self, key: str, *body: Buffer) -> None:
        """Write an object, of pieces in a row, over any that is there."""
        with self._call("put"):
            self._client.put_object(
                Bucket=self._bucket, Key=self._prefix + key, Body=Body(body), **self._attributes
            )

    def put_new(self, key: str, *pieces: Buffer) -> bool:
        """Write an object unless there is one; return whether. Only where `conditional`.

        An answer that was lost may have been a success: what is there then is looked at.
        """
        body = Body(pieces)
        with self._call("put_new"):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    Body=body,
                    IfNoneMatch="*",
                    **self._attributes,
                )
            except ClientError as error:
                if _status(error) not in {409, 412}:
                    raise
                found = self._read(key)
                return found is not None and body.equals(found)
        return True

    def get(self, key: str, *, first_bytes: int | None = None) -> bytes | None:
        """Return an object, or its beginning; None where there is none."""
        with self._call("get"):
            return self._read(key, first_bytes=first_bytes)

    def _read(self, key: str, *, first_bytes: int | None = None) -> bytes | None:
        answer = self._answer(key, "" if first_bytes is None else f"0-{first_bytes - 1}")
        if answer is None:
            return None
        with answer["Body"] as body:
            data: bytes = body.read()
        return data

    def _answer(self, key: str, span: str) -> dict[str, Any] | None:
        """Return botocore's answer to a GET of a span as Range has it; None without an object."""
        asked = {"Range": f"bytes={span}"} if span else {}
        try:
            answer: dict[str, Any] = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + key, **asked
            )
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise
        return answer

    def read_end(self, key: str, view: memoryview) -> bool:
        """Fill a buffer with the end of an object; return whether that is so long.

        An engine that sends more than was asked for sends the end last.
        """
        with self._call("get"):
            answer = self._answer(key, f"-{view.nbytes}")
            if answer is None:
                return False
            before_bytes = answer["ContentLength"] - view.nbytes
            filled_bytes = 0
            with closing(answer["Body"]) as body:
                while before_bytes > 0:
                    before_bytes -= len(body.read(min(before_bytes, _PIECE_BYTES)))
                while piece := body.read(_PIECE_BYTES):
                    view[filled_bytes : filled_bytes + len(piece)] = piece
                    filled_bytes += len(piece)
        return filled_bytes == view.nbytes

    def body(self, key: str, start: int, stop: int) -> Any | None:
        """Return a span of an object as it arrives, for `s3_download.py`; None without one."""
        with self._call("get"):
            answer = self._answer(key, f"{start}-{stop - 1}")
            return None if answer is None else answer["Body"]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count and time a read of such a body. Raises BackendUnavailable."""
        with self._call("read"):
            yield

    def count_resumed(self) -> None:
        """Count a download that is asked for again."""
        self._metrics.s3_retries.labels("GetObject").inc()

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes; None where there is none."""
        with self._call("head"):
            try:
                answer = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as error:
                if _code(error) in _MISSING:
                    return None
                raise
            return int(answer["ContentLength"])

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with self._call("delete"):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Item]:
        """Yield the objects below a prefix, in the order of their keys, strictly after one."""
        more = {"StartAfter": self._prefix + after} if after else {}
        while True:
            with self._call("list"):
                page = self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix + prefix, **more
                )
            for entry in page.get("Contents", ()):
                yield Item(
                    entry["Key"].removeprefix(self._prefix),
                    int(entry["Size"]),
                    entry["LastModified"].timestamp(),
                )
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def create_multipart(self, key: str) -> str:
        """Begin a multipart upload; return its id."""
        with self._call("create_multipart"):
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._prefix + key, **self._attributes
            )
            return str(answer["UploadId"])

    def put_part(self, key: str, multipart_id: str, number: int, *body: Buffer) -> str:
        """Send a part; return its ETag. Raises MultipartGone."""
        with self._call("put_part"), _gone():
            self._metrics.s3_parts_in_flight.inc()
            try:
                answer = self._client.upload_part(
                    Bucket=self._bucket,
                    Key=self._prefix + key,
                    UploadId=multipart_id,
                    PartNumber=number,
                    Body=Body(body),
                )
            finally:
                self._metrics.s3_parts_in_flight.dec()
            return str(answer["ETag"])

    def complete(self, key: str, multipart_id: str, parts: Sequence[tuple[int, str]]) -> None:
        """Make an object of parts, given by number and ETag. Raises MultipartGone, PartsDiffer.

        Ceph wants all parts that there are, others some of them.
        """
        with self._call("complete"), _gone():
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._prefix + key,
                UploadId=multipart_id,
                MultipartUpload={
                    "Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]
                },
            )

    def parts(self, key: str, multipart_id: str) -> Sequence[tuple[int, str]]:
        """Return number and ETag of the parts that have arrived, in order. Raises MultipartGone."""
        found = []
        more: dict[str, int] = {}
        while True:
            with self._call("list_parts"), _gone():
                page = self._client.list_parts(
                    Bucket=self._bucket, Key=self._prefix + key, UploadId=multipart_id, **more
                )
            found += [(part["PartNumber"], part["ETag"]) for part in page.get("Parts", ())]
            if not page.get("IsTruncated"):
                return found
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def abort(self, key: str, multipart_id: str) -> None:
        """Remove a multipart upload with its parts; one that has ended stays as it is."""
        with self._call("abort"):
            try:
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._prefix + key, UploadId=multipart_id
                )
            except ClientError as error:
                if _code(error) not in _GONE:
                    raise

    def multiparts(self, prefix: str) -> Iterator[OpenMultipart]:
        """Yield open multipart uploads. Some engines forget them: never for a request."""
        more: dict[str, str] = {}
        while True:
            with self._call("list_multiparts"):
                page = self._client.list_multipart_uploads(
                    Bucket=self._bucket, Prefix=self._prefix + prefix, **more
                )
            for entry in page.get("Uploads", ()):
                yield OpenMultipart(
                    entry["Key"].removeprefix(self._prefix),
                    entry["UploadId"],
                    entry["Initiated"].timestamp(),
                )
            if not page.get("IsTruncated"):
                return
            more = {
                "KeyMarker": page["NextKeyMarker"],
                "UploadIdMarker": page["NextUploadIdMarker"],
            }

    def url(self, key: str) -> str:
        """Return where anybody may GET an object, for `s3.presign_lifetime_s`. Asks nobody."""
        return str(
            self._client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": self._prefix + key,
                    "ResponseContentType": "application/octet-stream",
                },
                ExpiresIn=self._settings.presign_lifetime_s,
            )
        )

    def follow(self, url: str) -> tuple[int, bytes]:
        """GET a URL as a client does that was redirected to it; return the status and the body.

        Raises BackendUnavailable where nobody answers.
        """
        with self._call("follow"):
            answer = self._redirected.send(AWSRequest("GET", url).prepare())
            return answer.status_code, answer.content

    def try_conditional(self, key: str) -> bool:
        """Find out whether a second If-None-Match write of a key is refused."""
        try:
            return self._refuses_second(key)
        finally:
            self.delete(key)

    def _refuses_second(self, key: str) -> bool:
        with self._call("probe"):
            try:
                for _ in range(2):
                    self._client.put_object(
                        Bucket=self._bucket, Key=self._prefix + key, Body=b"", IfNoneMatch="*"
                    )
            except ClientError as error:
                if _status(error) in {409, 412}:
                    return True
                if _status(error) == 501:
                    return False
                raise
        return False

    @property
    def place(self) -> str:
        """The bucket and where it is, for people."""
        return f"s3.bucket = {self._bucket!r} at {self._settings.endpoint_url or 'AWS'}"

    def look_at_bucket(self) -> None:
        """Ask for the bucket. Raises ConfigInvalid, saying what is wrong with which setting."""
        where = self.place
        try:
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ClientError as error:
            code = _code(error)
            why = {
                "NoSuchBucket": "there is no such bucket; make it first",
                "404": "there is no such bucket; make it first",
                "AccessDenied": "these credentials may not read it",
                "403": "these credentials may not read it",
                "InvalidAccessKeyId": "s3.access_key_id is not known there",
                "SignatureDoesNotMatch": "s3.secret_access_key is wrong",
                "RequestTimeTooSkewed": "this machine's clock and the engine's are too far apart",
            }.get(code, str(error))
            raise ConfigInvalid(f"{where}: {why}") from error
        except (BotoCoreError, HTTPClientError, ValueError) as error:
            raise ConfigInvalid(f"{where}: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._redirected.close()

    def _count_retry(self, request: Any, operation_name: str, **_: Any) -> None:
        if request.context.get("retries", {}).get("attempt", 1) > 1:
            self._metrics.s3_retries.labels(operation_name).inc()

    @contextmanager
    def _call(self, operation: str) -> Iterator[None]:
        """Count and time a request, and tell its failure in the domain's words."""
        started_s = time.perf_counter()
        outcome = "ok"
        try:
            yield
        except (MultipartGone, PartsDiffer) as error:
            outcome = "gone" if isinstance(error, MultipartGone) else "differ"
            raise
        except ClientError as error:
            outcome = _code(error)[:40]
            raise BackendUnavailable(
                f"the S3 engine answered {operation} with {_code(error)}"
            ) from error
        except (BotoCoreError, HTTPClientError, OSError) as error:
            outcome = type(error).__name__
            raise BackendUnavailable(
                f"the S3 engine did not answer {operation}: {error}"
            ) from error
        finally:
            self._metrics.s3_request_duration.labels(operation, outcome).observe(
                time.perf_counter() - started_s
            )


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if _code(error) in _GONE:
            raise MultipartGone(str(error)) from error
        if _code(error) == "InvalidPart":
            raise PartsDiffer(str(error)) from error
        raise


def _addressing_style(settings: S3) -> str:
    """Return where the bucket's name stands in URLs.

    On AWS, "auto" would send redirects to the global endpoint, which answers for buckets of most
    regions with another redirect, and that one is not signed.
    """
    if settings.path_style:
        return "path"
    return "auto" if settings.endpoint_url else "virtual"


def _leave_out_expect(params: dict[str, Any], **_: Any) -> None:
    """Send bodies at once: an engine that refuses early would cost a second of waiting."""
    params["headers"].pop("Expect", None)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
