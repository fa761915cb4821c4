"""Every kind of failure: a domain word, its facts as attributes, and whether to retry.

These are the failures of storage and uploads. Nothing here knows HTTP: `http/answers.py` holds the
one table from errors to answers, `http/errors.py` and `registry/errors.py` the errors of those
floors.
`retryable` says that the same call may well succeed later, with nothing changed by the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from blobd.digest import Digest


class BlobdError(Exception):
    """The root: everything that blobd raises on purpose."""

    retryable: ClassVar[bool] = False


class ConfigInvalid(BlobdError):
    """A setting has a value that is not allowed; the message names setting, value and allowance."""


# Blobs


class BlobNotFound(BlobdError):
    """No blob of this digest that the caller may see."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest} is not known here")
        self.digest = digest


class BlobCorrupt(BlobdError):
    """Stored bytes are not the blob they are filed under."""

    def __init__(self, digest: Digest, why: str) -> None:
        super().__init__(f"blob {digest} is damaged in storage: {why}")
        self.digest = digest


class DigestUnsupported(BlobdError):
    """A well-formed digest whose algorithm blobd cannot compute."""

    def __init__(self, algorithm: str) -> None:
        super().__init__(
            f"digest algorithm {algorithm!r} is not supported; use sha256, sha512 or blake3"
        )
        self.algorithm = algorithm


class DigestMismatch(BlobdError):
    """The bytes received hash to something else than the client said."""

    def __init__(self, announced: Digest, computed: Digest) -> None:
        super().__init__(f"the bytes received hash to {computed}, not to the announced {announced}")
        self.announced = announced
        self.computed = computed


# Uploads


class UploadUnknown(BlobdError):
    """No open upload of this id: never begun, finished, cancelled, or swept after expiry."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(
            f"upload {upload_id} is not open here: it was finished, cancelled, has expired, "
            "or was never begun; start a new one"
        )
        self.upload_id = upload_id


class UploadExpired(BlobdError):
    """The upload is older than the operator allows; it has been ended."""

    def __init__(self, upload_id: str, limit_s: float) -> None:
        super().__init__(
            f"upload {upload_id} took longer than the limit of {limit_s:g} s from its start "
            "to its last byte and was ended"
        )
        self.upload_id = upload_id
        self.limit_s = limit_s


class UploadOvertaken(BlobdError):
    """Another request has taken this upload over; this one cannot write to it."""

    def __init__(self, upload_id: str, offset: int) -> None:
        super().__init__(f"upload {upload_id} was taken over by a newer request")
        self.upload_id = upload_id
        self.offset = offset


class UploadBusy(BlobdError):
    """The present writer of this upload did not let go in time."""

    retryable = True

    def __init__(self, upload_id: str, waited_s: float) -> None:
        super().__init__(
            f"upload {upload_id} is still being written by another request after {waited_s:g} s"
        )
        self.upload_id = upload_id
        self.waited_s = waited_s


class OffsetMismatch(BlobdError):
    """A chunk does not start where the upload stands; the upload is unchanged."""

    def __init__(self, upload_id: str, *, offset: int, got: int) -> None:
        super().__init__(f"upload {upload_id} stands at byte {offset}, the chunk starts at {got}")
        self.upload_id = upload_id
        self.offset = offset
        self.got = got


class SizeMismatch(BlobdError):
    """A body is shorter or longer than it was announced; its request has been undone."""

    def __init__(self, *, announced_bytes: int, received_bytes: int) -> None:
        super().__init__(
            f"{announced_bytes} bytes were announced, {received_bytes} arrived; "
            "this request was undone"
        )
        self.announced_bytes = announced_bytes
        self.received_bytes = received_bytes


class BlobTooLarge(BlobdError):
    """The blob is larger, or announced to be larger, than the limit."""

    def __init__(self, *, limit_bytes: int, size_bytes: int) -> None:
        super().__init__(
            f"a blob of {size_bytes} bytes or more is over this server's limit of "
            f"{limit_bytes} bytes per blob"
        )
        self.limit_bytes = limit_bytes
        self.size_bytes = size_bytes


# Bodies on their way in


class BodyBroken(BlobdError):
    """The client went away in the middle of its body."""

    def __init__(self, received_bytes: int) -> None:
        super().__init__(f"the connection broke off after {received_bytes} bytes of the body")
        self.received_bytes = received_bytes


class BodyIdle(BlobdError):
    """The client is there but sends nothing."""

    def __init__(self, idle_s: float) -> None:
        super().__init__(f"no byte of the body arrived for {idle_s:g} s")
        self.idle_s = idle_s


class BodyMalformed(BlobdError):
    """The body's framing (chunked coding, RFC 9112 section 7.1) cannot be read."""


# Storage and load


class StorageFull(BlobdError):
    """No space left; reads and other uploads go on."""

    retryable = True

    def __init__(self, why: str = "no space left on device") -> None:
        super().__init__(why)


class StorageLost(BlobdError):
    """The system could not make staged bytes durable; that staging is gone and is not retried."""

    retryable = True


class BackendUnavailable(BlobdError):
    """The backend is in trouble that passes."""

    retryable = True


class TooManyUploads(BlobdError):
    """As many uploads as the operator allows are receiving at this moment."""

    retryable = True

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} uploads are being received already, the limit of this server")
        self.limit = limit


class TooManyOpenUploads(BlobdError):
    """As many upload sessions as the operator allows are open."""

    retryable = True

    def __init__(self, setting: str, limit: int) -> None:
        whose = "your account has" if setting.endswith("_per_account") else "this server has"
        super().__init__(
            f"{whose} as many uploads open as it may (limits.{setting}, {limit}); "
            "finish or cancel some, or wait until abandoned ones expire"
        )
        self.setting = setting
        self.limit = limit


class AccountBusy(BlobdError):
    """One account holds as much as it may while others could want the rest, or they have it all."""

    retryable = True

    def __init__(self, what: str, held: int, limit: int) -> None:
        super().__init__(
            f"your account holds {held} {what} of {limit} that all share, as much as one may; "
            "wait until some of them end"
            if held
            else f"all {limit} {what} that are shared are in use by others; try again later"
        )
        self.held = held
        self.limit = limit


class BudgetExhausted(BlobdError):
    """The bytes-in-flight budget stayed spent for too long."""

    retryable = True

    def __init__(self, budget_bytes: int, waited_s: float) -> None:
        super().__init__(
            f"all {budget_bytes} bytes set aside for uploads in flight stayed in use "
            f"for {waited_s:g} s"
        )
        self.budget_bytes = budget_bytes
        self.waited_s = waited_s


# The database


class TextInvalid(BlobdError):
    """A text that no database keeps, and that no name or description here can be."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} {why}, and cannot be kept or looked for; send it without")
        self.why = why


# Operators


class Refused(BlobdError):
    """It would break what the registry promises; the message says what, and what to do first."""
