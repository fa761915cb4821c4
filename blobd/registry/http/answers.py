"""What the registry's own errors are answered with: its rows of the one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.http.answers import Answer, challenge
from blobd.registry import errors as registry_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from blobd.errors import BlobdError


def _for_each_digest(
    error: registry_errors.ManifestReferencesUnknown,
) -> Sequence[tuple[str, Mapping[str, object]]]:
    return [
        (f"{digest} is not in this repository", {"digest": str(digest)}) for digest in error.digests
    ]


def _without_delete(_error: BlobdError) -> Mapping[str, str]:
    return {"Allow": "GET, HEAD"}


ANSWERS: Mapping[type[BaseException], Answer] = {
    registry_errors.TooManyScopes: Answer(400, "UNSUPPORTED"),
    registry_errors.NameInvalid: Answer(400, "NAME_INVALID"),
    registry_errors.NameUnknown: Answer(404, "NAME_UNKNOWN"),
    registry_errors.AccountInvalid: Answer(400, "NAME_INVALID"),
    registry_errors.NotFound: Answer(404, "NAME_UNKNOWN"),
    registry_errors.AlreadyExists: Answer(409, "DENIED"),
    registry_errors.BlobReferenced: Answer(405, "UNSUPPORTED", headers=_without_delete),
    registry_errors.ManifestListed: Answer(405, "UNSUPPORTED", headers=_without_delete),
    registry_errors.LastVersion: Answer(400, "DENIED"),
    registry_errors.TagImmutable: Answer(409, "DENIED"),
    registry_errors.TooPopular: Answer(403, "DENIED"),
    registry_errors.TagInvalid: Answer(400, "TAG_INVALID"),
    registry_errors.ManifestUnknown: Answer(404, "MANIFEST_UNKNOWN"),
    registry_errors.ManifestChildMissing: Answer(404, "MANIFEST_UNKNOWN"),
    registry_errors.ManifestInvalid: Answer(400, "MANIFEST_INVALID"),
    registry_errors.ManifestTooLarge: Answer(413, "MANIFEST_INVALID", limit="max_manifest_bytes"),
    registry_errors.ManifestTooSlow: Answer(408, "MANIFEST_INVALID", limit="idle_timeout_s"),
    registry_errors.ManifestReferencesUnknown: Answer(
        400,
        "MANIFEST_BLOB_UNKNOWN",
        entries=_for_each_digest,
    ),
    registry_errors.DescriptorSizeWrong: Answer(400, "MANIFEST_INVALID"),
    registry_errors.TooManyTags: Answer(414, "TAG_INVALID"),
    registry_errors.BearerInvalid: Answer(401, "UNAUTHORIZED", headers=challenge),
    registry_errors.LoginNeeded: Answer(401, "UNAUTHORIZED", headers=challenge),
    registry_errors.TokenRefused: Answer(401, "UNAUTHORIZED", headers=challenge),
    registry_errors.ScopeMissing: Answer(401, "UNAUTHORIZED", headers=challenge),
    registry_errors.PermissionDenied: Answer(403, "DENIED"),
    registry_errors.WorkflowNotGranted: Answer(403, "DENIED"),
    registry_errors.NotForWorkflows: Answer(403, "DENIED"),
    registry_errors.NamespaceClosed: Answer(404, "NAME_UNKNOWN"),
    registry_errors.NamespaceMissing: Answer(403, "DENIED"),
    registry_errors.TokenTooNarrow: Answer(403, "DENIED"),
    registry_errors.TooManyFailures: Answer(429, "TOOMANYREQUESTS"),
}
