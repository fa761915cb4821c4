"""What goes wrong in the registry: names, manifests, packages, accounts and access.

`http/answers.py` has what each is answered with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from blobd.errors import BlobdError
from blobd.http.errors import RequestInvalid, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blobd.digest import Digest

_NAMED_MAX: Final = 5
"""Manifests that a message names."""


class TooManyScopes(RequestInvalid):
    """A token was asked for that covers more than fits into a header."""

    def __init__(self, asked: int, limit: int) -> None:
        super().__init__(
            f"the request asks for {asked} scopes and one token covers at most {limit}; "
            "ask for several tokens"
        )


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


class NotFound(BlobdError):
    """Nothing of this kind and name that the caller may see."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name} is not known here")
        self.kind = kind
        self.name = name


class AlreadyExists(BlobdError):
    """The name is in use."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"the name {name} is taken: another {kind} has it")
        self.kind = kind
        self.name = name


class LastVersion(BlobdError):
    """A package has to keep a version, and a tagged one where it has any."""

    def __init__(self, package: str, *, tagged: bool) -> None:
        super().__init__(
            f"you cannot delete the last {'tagged ' if tagged else ''}version of a package; "
            f"delete the package {package} instead"
        )
        self.package = package


class BlobReferenced(BlobdError):
    """A blob that manifests of its repository name: without it they could not be pulled."""

    def __init__(self, digest: Digest, manifests: Sequence[Digest]) -> None:
        super().__init__(
            f"{digest} belongs to {_some(manifests)}; delete what names it first, and garbage "
            "collection removes the blob"
        )
        self.digest = digest
        self.manifests = tuple(manifests)


class ManifestListed(BlobdError):
    """A manifest that indexes of its repository list: without it they could not be pulled."""

    def __init__(self, digest: Digest, indexes: Sequence[object]) -> None:
        super().__init__(
            f"{digest} is listed by {_some(indexes)}; delete the index first, or repeat this "
            "with ?force=true (`blobd package delete --force`) and break it"
        )
        self.digest = digest


def _some(manifests: Sequence[object]) -> str:
    named = ", ".join(str(each) for each in manifests[:_NAMED_MAX])
    return f"{named} and others" if len(manifests) > _NAMED_MAX else named


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


class BearerInvalid(Unauthenticated):
    """A bearer token that this registry did not sign, that does not count now, or is not for it."""

    def __init__(self, why: str, *, expired: bool = False, early: bool = False) -> None:
        super().__init__(why)
        self.expired = expired
        self.early = early
        """Signed by this registry, but for a time to come."""


class LoginNeeded(Unauthenticated):
    """Anonymous access to something that needs a login."""

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


class PermissionDenied(BlobdError):
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
