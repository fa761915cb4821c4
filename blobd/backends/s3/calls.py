"""The calls of S3 that blobd makes, in its own words. How they are sent is in `s3/client.py`.

Every method blocks and runs on a thread (`threads.py`). What does not pass in time ends in
BackendUnavailable. Two answers are no failures but facts: what is not there is None, and a
multipart upload that has ended is MultipartGone.
"""

from __future__ import annotations

import copy
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from blobd.backends.s3.body import Body
from blobd.backends.s3.client import Arriving, Declined, S3Client, Unanswered
from blobd.errors import BackendUnavailable, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from blobd.backends.base import Buffer
    from blobd.backends.s3.retries import Retries
    from blobd.config import S3
    from blobd.metrics import Metrics

    T = TypeVar("T")

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
        self.conditional = False
        """Whether the engine honours If-None-Match on PutObject; the probe finds out."""
        self._client = S3Client(settings, metrics)
        self._is_retried = True

    def once(self) -> S3Calls:
        """Return the same calls, each of them tried once; to be closed with these."""
        calls = copy.copy(self)
        calls._is_retried = False
        return calls

    def put(self, key: str, *body: Buffer) -> None:
        """Write an object, of pieces in a row, over any that is there."""
        self._ask("put", "put_object", _nothing, key, Body=Body(body), **self._attributes)

    def put_new(self, key: str, *pieces: Buffer) -> bool:
        """Write an object unless there is one; return whether. Only where `conditional`.

        An answer that was lost may have been a success: what is there then is looked at.
        """
        body = Body(pieces)
        with self._timed("put_new"):
            try:
                self._send(
                    "put_object", _nothing, key, Body=body, IfNoneMatch="*", **self._attributes
                )
            except Declined as error:
                if error.status not in {409, 412}:
                    raise
                found = self._get(key)
                return found is not None and body.equals(found)
        return True

    def get(self, key: str, *, first_bytes: int | None = None) -> bytes | None:
        """Return an object, or its beginning; None where there is none."""
        with self._timed("get"):
            return self._get(key, "" if first_bytes is None else f"0-{first_bytes - 1}")

    def _get(self, key: str, span: str = "") -> bytes | None:
        return self._read(key, span, _whole_body)

    def _read(self, key: str, span: str, read: Callable[[dict[str, Any]], T]) -> T | None:
        """Return what `read` makes of a span, as Range has it; None without an object."""
        asked = {"Range": f"bytes={span}"} if span else {}
        try:
            return self._send("get_object", read, key, **asked)
        except Declined as error:
            if error.code in _MISSING:
                return None
            raise

    def read_end(self, key: str, view: memoryview) -> bool:
        """Fill a buffer with the end of an object; return whether the object is that long.

        An engine that sends more than was asked for sends the end last.
        """

        def fill(answer: dict[str, Any]) -> bool:
            before_bytes = answer["ContentLength"] - view.nbytes
            filled_bytes = 0
            with closing(Arriving(answer)) as body:
                while before_bytes > 0:
                    before_bytes -= len(body.read(min(before_bytes, _PIECE_BYTES)))
                while piece := body.read(_PIECE_BYTES):
                    view[filled_bytes : filled_bytes + len(piece)] = piece
                    filled_bytes += len(piece)
            return filled_bytes == view.nbytes

        with self._timed("get"):
            return self._read(key, f"-{view.nbytes}", fill) or False

    def arriving(self, key: str, start: int, stop: int) -> Arriving | None:
        """Return a span of an object on its way, for `s3/download.py`; None where there is none."""
        with self._timed("get"):
            try:
                return self._read(key, f"{start}-{stop - 1}", Arriving)
            except Declined as error:
                if error.status == 416:  # the object has become shorter than the span's start
                    return None
                raise

    def read_arriving(self, body: Arriving, most_bytes: int) -> bytes:
        """Return the next bytes of such a span; none at its end."""
        with self._timed("read"):
            return body.read(most_bytes)

    def resumes(self) -> Retries:
        """Return the waits of a download that breaks off, as long as nothing more arrives."""
        return self._client.retries()

    def count_resumed(self) -> None:
        """Count a download that is asked for again."""
        self._client.count_retry("get_object")

    def size(self, key: str) -> int | None:
        """Return an object's size in bytes; None where there is none."""
        with self._timed("head"):
            try:
                return self._send("head_object", lambda answer: int(answer["ContentLength"]), key)
            except Declined as error:
                if error.code in _MISSING:
                    return None
                raise

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self._ask("delete", "delete_object", _nothing, key)

    def list(self, prefix: str, *, after: str = "") -> Iterator[Item]:
        """Yield the objects below a prefix, in the order of their keys, strictly after one."""
        more = {"StartAfter": self._prefix + after} if after else {}
        while True:
            page = self._ask(
                "list", "list_objects_v2", _answer, Prefix=self._prefix + prefix, **more
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
        return self._ask(
            "create_multipart",
            "create_multipart_upload",
            lambda answer: str(answer["UploadId"]),
            key,
            **self._attributes,
        )

    def put_part(self, key: str, multipart_id: str, number: int, *body: Buffer) -> str:
        """Send a part; return its ETag. Raises MultipartGone."""
        with self._timed("put_part"), _gone():
            self._metrics.s3_parts_in_flight.inc()
            try:
                return self._send(
                    "upload_part",
                    lambda answer: str(answer["ETag"]),
                    key,
                    UploadId=multipart_id,
                    PartNumber=number,
                    Body=Body(body),
                )
            finally:
                self._metrics.s3_parts_in_flight.dec()

    def complete(self, key: str, multipart_id: str, parts: Sequence[tuple[int, str]]) -> None:
        """Make an object of parts, given by number and ETag. Raises MultipartGone, PartsDiffer.

        Ceph wants all parts that there are, others some of them.
        """
        with self._timed("complete"), _gone():
            self._send(
                "complete_multipart_upload",
                _nothing,
                key,
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
            with self._timed("list_parts"), _gone():
                page = self._send("list_parts", _answer, key, UploadId=multipart_id, **more)
            found += [(part["PartNumber"], part["ETag"]) for part in page.get("Parts", ())]
            if not page.get("IsTruncated"):
                return found
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def abort(self, key: str, multipart_id: str) -> None:
        """Remove a multipart upload with its parts; one that has ended stays as it is."""
        with self._timed("abort"):
            try:
                self._send("abort_multipart_upload", _nothing, key, UploadId=multipart_id)
            except Declined as error:
                if error.code not in _GONE:
                    raise

    def multiparts(self, prefix: str) -> Iterator[OpenMultipart]:
        """Yield open multipart uploads. Some engines forget them: never for a request."""
        more: dict[str, str] = {}
        while True:
            page = self._ask(
                "list_multiparts",
                "list_multipart_uploads",
                _answer,
                Prefix=self._prefix + prefix,
                **more,
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
        return self._client.url(self._prefix + key)

    def follow(self, url: str) -> tuple[int, bytes]:
        """GET a URL as a client does that was redirected to it; return the status and the body.

        Raises BackendUnavailable where nobody answers.
        """
        with self._timed("follow"):
            return self._client.follow(url)

    def try_conditional(self, key: str) -> bool:
        """Find out whether a second If-None-Match write of a key is refused."""
        try:
            return self._refuses_second(key)
        finally:
            self.delete(key)

    def _refuses_second(self, key: str) -> bool:
        with self._timed("probe"):
            try:
                for _ in range(2):
                    self._send("put_object", _nothing, key, Body=Body([b""]), IfNoneMatch="*")
            except Declined as error:
                if error.status in {409, 412}:
                    return True
                if error.status == 501:
                    return False
                raise
        return False

    def takes_part(self, key: str, multipart_id: str, number: int) -> bool:
        """Find out whether a part may have this number."""
        with self._timed("probe"):
            try:
                body = Body([b"0"])
                self._send(
                    "upload_part",
                    _nothing,
                    key,
                    UploadId=multipart_id,
                    PartNumber=number,
                    Body=body,
                )
            except Declined as error:
                if error.status != 400:
                    raise
                return False
        return True

    @property
    def place(self) -> str:
        """The bucket and where it is, for people."""
        return f"s3.bucket = {self._bucket!r} at {self._settings.endpoint_url or 'AWS'}"

    def look_at_bucket(self) -> None:
        """Ask for the bucket. Raises ConfigInvalid, saying what is wrong with which setting."""
        where = self.place
        try:
            self._send("list_objects_v2", _nothing, MaxKeys=1)
        except Declined as error:
            why = {
                "NoSuchBucket": "there is no such bucket; make it first",
                "404": "there is no such bucket; make it first",
                "AccessDenied": "these credentials may not read it",
                "403": "these credentials may not read it",
                "InvalidAccessKeyId": "s3.access_key_id is not known there",
                "SignatureDoesNotMatch": "s3.secret_access_key is wrong",
                "RequestTimeTooSkewed": "this machine's clock and the engine's are too far apart",
            }.get(error.code, str(error))
            raise ConfigInvalid(f"{where}: {why}") from error
        except Unanswered as error:
            raise ConfigInvalid(f"{where}: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _ask(
        self,
        operation: str,
        method: str,
        read: Callable[[dict[str, Any]], T],
        key: str | None = None,
        **parameters: Any,
    ) -> T:
        """Return what `read` makes of the answer to a request, counted and timed."""
        with self._timed(operation):
            return self._send(method, read, key, **parameters)

    def _send(
        self,
        method: str,
        read: Callable[[dict[str, Any]], T],
        key: str | None = None,
        **parameters: Any,
    ) -> T:
        """Return what `read` makes of the answer to a request. Raises Declined, Unanswered."""
        if key is not None:
            parameters["Key"] = self._prefix + key
        return self._client.ask(method, read, is_retried=self._is_retried, **parameters)

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        """Count and time a request with its retries. Raises BackendUnavailable."""
        started_s = time.perf_counter()
        outcome = "ok"
        try:
            yield
        except (MultipartGone, PartsDiffer) as error:
            outcome = "gone" if isinstance(error, MultipartGone) else "differ"
            raise
        except Declined as error:
            outcome = error.code[:40]
            raise BackendUnavailable(
                f"the S3 engine answered {operation} with {error.code}"
            ) from error
        except Unanswered as error:
            outcome = error.kind
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
    except Declined as error:
        if error.code in _GONE:
            raise MultipartGone(str(error)) from error
        if error.code == "InvalidPart":
            raise PartsDiffer(str(error)) from error
        raise


def _nothing(_: dict[str, Any]) -> None:
    """Make nothing of an answer that says no more than that it was done."""


def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    return answer


def _whole_body(answer: dict[str, Any]) -> bytes:
    with closing(Arriving(answer)) as body:
        return body.read()
