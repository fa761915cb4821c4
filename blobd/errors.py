"""Every failure blobd tells apart: a domain word, its facts as attributes, and whether to retry.

Nothing here knows HTTP; `wire/errors.py` holds the one table from these classes to answers.
`retryable` says that the same call may well succeed later, with nothing changed by the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Another request has taken this upload over; this one may not write any more."""

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


class RangeMalformed(BlobdError):
    """A Content-Range that cannot be read; answered like one that does not fit."""


class DigestMissing(BlobdError):
    """An upload is to be closed without saying as what."""

    def __init__(self) -> None:
        super().__init__("the query parameter digest=<algorithm>:<hex> is missing")


class RequestInvalid(BlobdError):
    """A header or a query parameter that cannot be understood."""


class TooManyScopes(RequestInvalid):
    """A token was asked for that covers more than fits into a header."""

    def __init__(self, asked: int, limit: int) -> None:
        super().__init__(
            f"the request asks for {asked} scopes and one token covers at most {limit}; "
            "ask for several tokens"
        )


class MediaTypeUnsupported(BlobdError):
    """A body of a type that is not taken here."""

    def __init__(self, got: str | None, wanted: str) -> None:
        super().__init__(
            f"the body must be {wanted} and its Content-Type must say so; it says "
            f"{'nothing' if got is None else repr(got[:100])}"
        )
        self.wanted = wanted


class CrossSite(BlobdError):
    """Another site made a browser send this."""

    def __init__(self, sign: str) -> None:
        super().__init__(
            f"a page of another site sent this ({sign}); send it from a page of this address, or "
            "by a client that is no browser"
        )
        self.sign = sign


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


class TooManyConnections(BlobdError):
    """As many connections as this process can have are busy."""

    retryable = True

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} connections are busy here, as many as can be; try again")
        self.limit = limit


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
    """One account holds as much as it may while others could want the rest."""

    retryable = True

    def __init__(self, what: str, held: int, limit: int) -> None:
        super().__init__(
            f"your account holds {held} {what} of {limit} that all share, as much as one may; "
            "wait until some of them end"
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


# The registry


class NameInvalid(BlobdError):
    """A repository name outside the specification's grammar (R8)."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:120]!r} is not a repository name: lower-case letters, digits and "
            "single . _ - between them, parts separated by /, 255 characters at most"
        )
        self.name = name


class NameUnknown(BlobdError):
    """No repository of this name that the caller may see."""

    def __init__(self, name: str) -> None:
        super().__init__(f"repository {name} is not known here")
        self.name = name


class AccountInvalid(BlobdError):
    """What can be the name of no account, team or source repository."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"{name[:120]!r} cannot be a name here: lower-case letters, digits and single . _ - "
            f"between them, {limit} characters at most"
        )
        self.name = name


class Unknown(BlobdError):
    """Nothing of this kind and name that the caller may see."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} is not known here")
        self.kind = kind
        self.name = name


class Taken(BlobdError):
    """The name is in use."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"the name {name} is taken: there is such a {kind} already")
        self.kind = kind
        self.name = name


class Refused(BlobdError):
    """It would break what the registry promises; the message says what, and what to do first."""


class LastVersion(BlobdError):
    """A package has to keep a version, and a tagged one where it has any."""

    def __init__(self, package: str, *, tagged: bool) -> None:
        super().__init__(
            f"you cannot delete the last {'tagged ' if tagged else ''}version of a package; "
            f"delete the package {package} instead"
        )
        self.package = package


class TextInvalid(BlobdError):
    """A text that no database keeps, and that no name or description here can be."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} {why}, and cannot be kept or looked for; send it without")
        self.why = why


class TagImmutable(BlobdError):
    """A tag of a package whose tags stay with what they were given to."""

    def __init__(self, tag: str) -> None:
        super().__init__(
            f"the tags of this package are immutable, and {tag} names another manifest; "
            "push under a new tag"
        )
        self.tag = tag


class TooPopular(BlobdError):
    """What many rely on is deleted by the administrator alone."""

    def __init__(self, downloads: int, limit: int) -> None:
        super().__init__(
            f"it is public and was downloaded {downloads} times; over {limit}, only the "
            "administrator deletes it"
        )
        self.downloads = downloads
        self.limit = limit


class TagInvalid(BlobdError):
    """A tag or reference outside the specification's grammar (R9, R10)."""

    def __init__(self, tag: str) -> None:
        super().__init__(
            f"{tag[:140]!r} is neither a tag (letters, digits, . _ -, at most 128 characters, "
            "not starting with . or -) nor a digest"
        )
        self.tag = tag


class ManifestUnknown(BlobdError):
    """The repository has no manifest of this tag or digest."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"manifest {reference} is not known in this repository")
        self.reference = reference


class ManifestChildMissing(ManifestUnknown):
    """A manifest that an index of the repository lists, and that is not there."""

    def __init__(self, reference: str, *, index: Digest) -> None:
        BlobdError.__init__(
            self,
            f"manifest {reference} is not in this repository: the index {index} was pushed "
            "without it, or it was deleted since; push it, or pull another platform",
        )
        self.reference = reference
        self.index = index


class ManifestInvalid(BlobdError):
    """A manifest that is not JSON of the announced kind; the message says where it fails."""


class ManifestTooLarge(BlobdError):
    """A manifest over `limits.max_manifest_bytes`."""

    def __init__(self, *, limit_bytes: int) -> None:
        super().__init__(f"the manifest is over this server's limit of {limit_bytes} bytes")
        self.limit_bytes = limit_bytes


class ManifestTooSlow(BlobdError):
    """A manifest, which is held in memory whole, takes too long to arrive."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the manifest did not arrive within {limit_s:g} s")
        self.limit_s = limit_s


class ManifestReferencesUnknown(BlobdError):
    """Blobs or manifests that a manifest names are not in its repository (R48)."""

    def __init__(self, digests: Sequence[Digest]) -> None:
        super().__init__(
            "the manifest names what this repository does not have: " + ", ".join(map(str, digests))
        )
        self.digests = tuple(digests)


class DescriptorSizeWrong(BlobdError):
    """A descriptor gives another size than the content that its digest names has."""

    def __init__(self, place: str, digest: Digest, *, said_bytes: int, size_bytes: int) -> None:
        super().__init__(
            f"{place} describes {digest} as {said_bytes} bytes, but it has {size_bytes}; "
            "correct the descriptor's size"
        )
        self.digest = digest
        self.said_bytes = said_bytes
        self.size_bytes = size_bytes


class TooManyTags(BlobdError):
    """More `?tag=` parameters in one manifest PUT than are taken (R49)."""

    def __init__(self, *, limit: int, got: int) -> None:
        super().__init__(f"{got} tags in one request; at most {limit} are taken")
        self.limit = limit


class PageInvalid(BlobdError):
    """A paging parameter (`n`, `limit`) that is not a whole number of zero or more."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:40]!r} is not a number of results")


class RouteUnknown(BlobdError):
    """No such path."""


class MethodUnsupported(BlobdError):
    """The path exists, but not with this method."""

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{method} is not supported here; allowed: {', '.join(allowed)}")
        self.allowed = tuple(allowed)


class Unauthenticated(BlobdError):
    """The request carries no credential that is known here, or not the one it needs."""

    scope = ""
    """What a bearer token has to be asked for, where that is known."""
    problem = "invalid_token"
    """What is wrong with the credential shown, by the words of RFC 6750; empty: none was shown."""
    challenge = "Bearer"
    """What the answer's WWW-Authenticate says; a front that knows more says more."""


class CredentialMalformed(Unauthenticated):
    """An Authorization header that cannot be read."""


class BearerInvalid(Unauthenticated):
    """A bearer token that this registry did not sign, that does not count now, or is not for it."""

    def __init__(self, why: str, *, expired: bool = False, early: bool = False) -> None:
        super().__init__(why)
        self.expired = expired
        self.early = early
        """Signed by this registry, but for a time to come."""


class LoginNeeded(Unauthenticated):
    """Somebody unknown asks for what not everybody may have."""

    problem = ""

    def __init__(self, what: str, scope: str = "") -> None:
        super().__init__(f"{what} is not open to everybody; log in to this registry first")
        self.scope = scope


class TokenRefused(Unauthenticated):
    """A personal access token that is unknown, has ended, or whose owner is shut out."""

    def __init__(self, which: str, why: str, *, expired: bool = False) -> None:
        super().__init__(f"{which} {why}")
        self.expired = expired


class ScopeMissing(Unauthenticated):
    """The subject has the right, but the bearer token was not asked for it."""

    problem = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"the bearer token does not cover {scope}; ask for a token that does")
        self.scope = scope


class Forbidden(BlobdError):
    """The subject may see it, but not do this with it."""

    def __init__(self, package: str, *, who: str, role: str, has: str, scope: str) -> None:
        super().__init__(
            f"{who} may not do this with {package}: it takes the role {role} and a token with the "
            f"scope {scope}; the role here is {has}"
        )
        self.package = package
        self.role = role
        self.has = has
        self.scope = scope


class WorkflowNotGranted(BlobdError):
    """A workflow pushes to a package of its own namespace that gives it nothing."""

    def __init__(self, package: str, source: str) -> None:
        owner, _, name = package.partition("/")
        at = f"/api/orgs/{owner}/packages/container/{quote(name, safe='')}"
        granted = f"{at}/access/workflows/{quote(source, safe='')}/automation"
        super().__init__(
            f"permission_denied: write_package: {package} is there and gives the workflows of "
            f"{source} no role; an admin of the package can give them one, by PUT {granted} with "
            f'{{"role": "write"}}, or link it (PUT {at}/repository) and let it inherit '
            f"(PUT {at}/access/mode)"
        )
        self.package = package
        self.source = source


class NotForWorkflows(BlobdError):
    """A workflow with a role that would do asks for what is left to people."""

    def __init__(self, package: str, remedy: str) -> None:
        super().__init__(
            f"a workflow's token may not do this with {package}, whatever its role: {remedy}"
        )
        self.package = package


class NamespaceMissing(BlobdError):
    """A push to a name without a namespace, which nobody owns."""

    def __init__(self, name: str, namespaces: Sequence[str]) -> None:
        yours = ", ".join(f"{namespace}/{name}" for namespace in namespaces)
        super().__init__(
            f"{name} is in no namespace; push to {yours}"
            if yours
            else f"{name} is in no namespace; push to NAMESPACE/{name}"
        )
        self.namespaces = tuple(namespaces)


class NamespaceClosed(NameUnknown):
    """A push into a namespace that is another account's, or nobody's.

    It says nothing of the packages there.
    """

    def __init__(self, name: str, namespaces: Sequence[str], *, exists: bool) -> None:
        super().__init__(name)
        namespace, _, image = name.partition("/")
        why = "is another account's namespace" if exists else "is no namespace here"
        yours = " or ".join(f"{own}/{image}" for own in namespaces)
        self.args = (f"{namespace} {why}; push to {yours or 'one that you may push to'}",)
        self.namespaces = tuple(namespaces)


class TokenTooNarrow(BlobdError):
    """The token is not for this, whatever its owner may do."""

    def __init__(self, scope: str, scopes: Sequence[str]) -> None:
        super().__init__(
            f"this takes a token with the scope {scope}; the one shown has "
            f"{', '.join(scopes) or 'none'}"
        )
        self.scope = scope


class TooManyFailures(BlobdError):
    """An address has failed to log in too often."""

    retryable = True

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many failed logins from this address; wait {wait_s:.0f} s")
        self.wait_s = wait_s


class HeadTooSlow(BlobdError):
    """A request head was not complete in time."""

    def __init__(self, limit_s: float) -> None:
        super().__init__(f"the request head was not complete within {limit_s:g} s")
        self.limit_s = limit_s


class HeadMalformed(BlobdError):
    """A request head that is not HTTP/1.1. Its bytes are never quoted: credentials are in heads."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            "the request head is not well-formed HTTP/1.1" + (f": {reason}" if reason else "")
        )


class HeadTooLarge(BlobdError):
    """A request head, without its first line, that is over a limit."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"the request head is larger than {limit}; send fewer or shorter headers")
        self.limit = limit


class TargetTooLong(BlobdError):
    """A request line that is over its limit."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the request line is longer than {limit_bytes} bytes; shorten the URL")
        self.limit_bytes = limit_bytes


class ExpectationUnsupported(BlobdError):
    """An Expect header that asks for something else than 100-continue."""

    def __init__(self) -> None:
        super().__init__("an expectation cannot be met: Expect may only hold 100-continue")


class TlsOnPlainPort(BlobdError):
    """A client began with a TLS ClientHello where plain HTTP is spoken."""

    def __init__(self) -> None:
        super().__init__(
            "this port speaks plain HTTP, not TLS: use http://, or a proxy that ends TLS before it"
        )
