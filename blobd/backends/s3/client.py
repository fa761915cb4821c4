"""The engine's API as blobd asks for it. All of boto3 is here, and so are all attempts.

One request is sent as often as `s3/retries.py` allows while its failure may pass: a connection that
broke or was refused, no answer in time, 429, 500, 502, 503, 504, an answer that cannot be read, a
Complete answered 200 with an error in its body. boto3 itself tries once: its own policy waits for
milliseconds, reads no Retry-After, and has a quota that one outage empties for the requests after
it. A body is sent again from memory that nobody changes before the call has returned.

Everything blocks and runs on a thread (`threads.py`); the client is shared by them.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as Unconnected
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError

from blobd.backends.s3.retries import Retries, retry_after_s
from blobd.errors import ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blobd.config import S3
    from blobd.metrics import Metrics

    T = TypeVar("T")

CONNECTIONS = 32
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
_PASSING_CODES = frozenset(
    {
        "ConditionalRequestConflict",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)
_BROKEN = (Unconnected, HTTPClientError, IncompleteReadError, ResponseParserError, OSError)
_LOGGED_EVERY_S = 10.0

_log = logging.getLogger("blobd.s3")


class Declined(Exception):
    """The engine has answered with an error that was not to pass, or did not in time."""

    def __init__(self, status: int, code: str, why: str, *, passing: bool, wait_s: float) -> None:
        super().__init__(why)
        self.status = status
        self.code = code
        self.passing = passing
        """Whether the same request may be answered otherwise later."""
        self.wait_s = wait_s
        """What Retry-After asks for."""


class Unanswered(Exception):
    """The engine was not reached, did not answer, or not to the end."""

    passing = True
    wait_s = 0.0

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind
        """The name of the failure, for metrics."""


class Unaskable(Unanswered):
    """The request was never sent: there are no credentials, or a parameter is malformed."""

    passing = False


class S3Client:
    """One bucket's engine."""

    def __init__(self, settings: S3, metrics: Metrics) -> None:
        """Make the client; asks nobody yet. Raises ConfigInvalid."""
        self._bucket = settings.bucket
        self._metrics = metrics
        self._budget_s = settings.retry_budget_s
        self._presign_lifetime_s = settings.presign_lifetime_s
        self._logged_s = float("-inf")
        config = BotoConfig(
            region_name=settings.region,
            connect_timeout=settings.connect_timeout_s,
            read_timeout=settings.read_timeout_s,
            retries={"total_max_attempts": 1, "mode": "standard"},
            # By itself boto3 presigns in version 2 for some regions, which AWS refuses for buckets
            # made after June 2020, and many engines always.
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
        self._client.meta.events.register_last("before-call.s3", _leave_out_expect)

    def ask(
        self,
        method: str,
        read: Callable[[dict[str, Any]], T],
        *,
        is_retried: bool = True,
        **parameters: Any,
    ) -> T:
        """Return what `read` makes of the answer to a request about the bucket.

        Where the answer breaks off while it is read, the request is sent again too. Raises
        Declined, Unanswered.
        """
        retries = self.retries() if is_retried else Retries(0)
        body = parameters.get("Body")
        while True:
            if body is not None:
                body.seek(0)
            try:
                with _in_own_words():
                    answer = getattr(self._client, method)(Bucket=self._bucket, **parameters)
                    return read(answer)
            except (Declined, Unanswered) as failure:
                self._note(method, failure)
                if not failure.passing or not retries.again(failure.wait_s):
                    raise
            self.count_retry(method)

    def retries(self) -> Retries:
        """Return the waits for one request, none of them used yet."""
        return Retries(self._budget_s)

    def count_retry(self, method: str) -> None:
        """Count a request that is sent again, by S3's name of the operation."""
        operation = self._client.meta.method_to_api_mapping[method]
        self._metrics.s3_retries.labels(operation).inc()

    def _note(self, method: str, failure: Declined | Unanswered) -> None:
        """Log a failure that may pass, but not those of every request in an outage."""
        now_s = time.monotonic()
        is_due = self._budget_s > 0 and now_s - self._logged_s > _LOGGED_EVERY_S
        if failure.passing and is_due:
            self._logged_s = now_s
            _log.warning(
                "%s: %s; such requests are sent again for %g s", method, failure, self._budget_s
            )

    def url(self, key: str) -> str:
        """Return where anybody may GET an object, for `s3.presign_lifetime_s`. Asks nobody."""
        return str(
            self._client.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": key,
                    "ResponseContentType": "application/octet-stream",
                },
                ExpiresIn=self._presign_lifetime_s,
            )
        )

    def follow(self, url: str) -> tuple[int, bytes]:
        """GET a URL as a client does that was redirected to it; return the status and the body.

        Tries once. Raises Unanswered.
        """
        with _in_own_words():
            answer = self._redirected.send(AWSRequest("GET", url).prepare())
            return answer.status_code, answer.content

    def close(self) -> None:
        """Close all connections."""
        self._client.close()
        self._redirected.close()


class Arriving:
    """The body of an answer on its way. One thread at a time."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._body = answer["Body"]
        self.etag = str(answer.get("ETag", ""))
        """Of the object that it is, or is a span of."""
        self.object_bytes = _object_bytes(answer)
        """The size of that object, where the engine says so."""

    def read(self, most_bytes: int | None = None) -> bytes:
        """Return the next bytes, or all there are; none at the end. Raises Unanswered."""
        with _in_own_words():
            data: bytes = self._body.read(most_bytes)
            return data

    def close(self) -> None:
        """Stop, whatever is still on its way."""
        self._body.close()


def _object_bytes(answer: dict[str, Any]) -> int | None:
    total = str(answer.get("ContentRange", "")).rpartition("/")[2]
    return int(total) if total.isdigit() else None


@contextmanager
def _in_own_words() -> Iterator[None]:
    """Sort boto3's errors into three classes. Raises Declined, Unanswered."""
    try:
        yield
    except ClientError as error:
        metadata = error.response.get("ResponseMetadata", {})
        status = int(metadata.get("HTTPStatusCode", 0))
        code = str(error.response.get("Error", {}).get("Code", ""))
        raise Declined(
            status,
            code,
            str(error),
            passing=status in _PASSING_STATUSES or code in _PASSING_CODES,
            wait_s=retry_after_s(metadata.get("HTTPHeaders", {})),
        ) from error
    except _BROKEN as error:
        raise Unanswered(type(error).__name__, str(error)) from error
    except (BotoCoreError, ValueError) as error:
        raise Unaskable(type(error).__name__, str(error)) from error


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
