"""Every failure has a row in the one table, and the JSON that the specification documents (R70)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from blobd import errors
from blobd.digest import Digest, MalformedDigest
from blobd.errors import BlobdError, ConfigInvalid
from blobd.http import errors as http_errors
from blobd.http.answers import (
    TABLE,
    UNEXPECTED,
    add_answers,
    answer_for,
    error_body,
    error_response,
)
from blobd.registry import errors as registry_errors
from blobd.registry.http.answers import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Iterator

add_answers(ANSWERS)

DIGEST = Digest("sha256", "a" * 64)
OTHER = Digest("sha256", "b" * 64)

EXAMPLES: list[Exception] = [
    MalformedDigest("sha256:zz"),
    errors.BlobNotFound(DIGEST),
    errors.BlobCorrupt(DIGEST, "too short"),
    errors.DigestUnsupported("md5"),
    errors.DigestMismatch(DIGEST, OTHER),
    errors.UploadUnknown("1" * 32),
    errors.UploadExpired("1" * 32, 600),
    errors.UploadOvertaken("1" * 32, 7),
    errors.UploadBusy("1" * 32, 5),
    errors.OffsetMismatch("1" * 32, offset=5, got=7),
    errors.SizeMismatch(announced_bytes=5, received_bytes=7),
    errors.BlobTooLarge(limit_bytes=5, size_bytes=7),
    errors.BodyBroken(7),
    errors.BodyIdle(60),
    errors.BodyMalformed("a chunk without a size"),
    http_errors.RangeMalformed("no range"),
    http_errors.DigestMissing(),
    http_errors.RequestInvalid("no"),
    registry_errors.TooManyScopes(1001, 1000),
    http_errors.MediaTypeUnsupported(None, "application/json"),
    http_errors.CrossSite("Origin: https://evil.example"),
    errors.StorageFull(),
    errors.StorageLost("no sync"),
    errors.BackendUnavailable("no disk"),
    http_errors.TooManyConnections(5),
    errors.TooManyOpenUploads("max_open_uploads", 5),
    errors.AccountBusy("uploads", 5, 10),
    errors.TooManyUploads(5),
    errors.BudgetExhausted(5, 30),
    registry_errors.NameInvalid("UPPER"),
    registry_errors.NameUnknown("a/b"),
    registry_errors.AccountInvalid("A b", 100),
    registry_errors.NotFound("user", "ada"),
    registry_errors.AlreadyExists("user", "ada"),
    errors.Refused("the last owner stays"),
    errors.TextInvalid("the description", "holds a NUL"),
    registry_errors.TagImmutable("v1"),
    registry_errors.TooPopular(5001, 5000),
    registry_errors.TagInvalid("-x"),
    registry_errors.ManifestUnknown("latest"),
    registry_errors.ManifestChildMissing(str(DIGEST), index=OTHER),
    registry_errors.ManifestInvalid("not JSON"),
    registry_errors.ManifestTooLarge(limit_bytes=5),
    registry_errors.ManifestTooSlow(60),
    registry_errors.ManifestReferencesUnknown([DIGEST, OTHER]),
    registry_errors.DescriptorSizeWrong("layers[0]", DIGEST, said_bytes=5, size_bytes=7),
    registry_errors.TooManyTags(limit=5, got=7),
    http_errors.PageInvalid("-1"),
    http_errors.RouteUnknown("nothing there"),
    http_errors.MethodUnsupported("POST", ["GET", "HEAD"]),
    http_errors.Unauthenticated("who?"),
    http_errors.CredentialMalformed("not base64"),
    registry_errors.BearerInvalid("expired", expired=True),
    registry_errors.LoginNeeded("pull of a/b", "repository:a/b:pull"),
    registry_errors.TokenRefused("token blobd_pat_1…", "expired", expired=True),
    registry_errors.ScopeMissing("repository:a/b:push"),
    registry_errors.PermissionDenied(
        "a/b", who="ada", role="write", has="read", scope="write:packages"
    ),
    registry_errors.NamespaceMissing("image", ["ada", "acme"]),
    registry_errors.NamespaceClosed("eve/image", ["ada", "acme"], exists=True),
    registry_errors.LastVersion("image", tagged=True),
    registry_errors.BlobReferenced(DIGEST, [OTHER]),
    registry_errors.ManifestListed(DIGEST, [OTHER]),
    registry_errors.WorkflowNotGranted("acme/image", "acme/code"),
    registry_errors.NotForWorkflows("acme/image", "let a person do it"),
    registry_errors.TokenTooNarrow("write:packages", ["read:packages"]),
    registry_errors.TooManyFailures(3),
    http_errors.HeadTooSlow(10),
    http_errors.BodyTooSlow(10),
    http_errors.HeadMalformed("a bad line"),
    http_errors.HeadTooLarge("5 header fields"),
    http_errors.TargetTooLong(5),
    http_errors.ExpectationUnsupported(),
    http_errors.TlsOnPlainPort(),
]

OF_THE_SPECIFICATION = {
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
}
OF_DOCKERS_REGISTRY = {"UNKNOWN", "UNAVAILABLE", "TAG_INVALID", "PAGINATION_NUMBER_INVALID"}


def subclasses(root: type[BlobdError]) -> Iterator[type[BlobdError]]:
    for child in root.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_error_has_a_row() -> None:
    """http/errors.py: the one table; a wrong configuration alone never meets a client."""
    ours = {kind for kind in subclasses(BlobdError) if kind.__module__.startswith("blobd.")}
    assert {kind for kind in ours if kind not in TABLE} <= {ConfigInvalid} | {
        kind for kind in ours if kind.__module__.startswith("blobd.client")
    }


def test_every_row_has_its_example_here() -> None:
    """This file: a new row is tested, or this fails."""
    assert {type(error) for error in EXAMPLES} >= {
        kind for kind in TABLE if kind.__module__.startswith("blobd.")
    }


def test_codes_are_those_that_clients_know() -> None:
    """R70, and what docker's registry has added."""
    assert {answer.code for answer in TABLE.values()} <= OF_THE_SPECIFICATION | OF_DOCKERS_REGISTRY


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
class TestEveryAnswer:
    def test_the_body_is_the_documented_json(self, error: Exception) -> None:
        """R70: errors, each with code, message, detail."""
        response = error_response(error)
        assert response.content_type == "application/json"
        body = response.body
        assert isinstance(body, bytes)
        document = json.loads(body)
        assert set(document) == {"errors"}
        assert document["errors"]
        for entry in document["errors"]:
            assert set(entry) == {"code", "message", "detail"}
            assert entry["code"] == answer_for(error).code
            assert entry["message"]
            assert isinstance(entry["detail"], dict)

    def test_the_status_is_the_tables(self, error: Exception) -> None:
        """http/errors.py: from class to answer, nowhere else."""
        response = error_response(error)
        assert response.status == TABLE[type(error)].status
        assert 400 <= response.status < 600

    def test_retry_after_says_what_the_error_says(self, error: Exception) -> None:
        """errors.py: retryable; whole seconds, and never with 507, where waiting is no cure."""
        response = error_response(error)
        retryable = isinstance(error, BlobdError) and error.retryable
        retry_after = response.headers.get("Retry-After")
        if retryable and response.status != 507:
            assert retry_after is not None
            assert retry_after.isdecimal()
        else:
            assert retry_after is None

    def test_the_message_is_a_line(self, error: Exception) -> None:
        """errors.py: a sentence for people."""
        assert str(error)
        assert "\n" not in str(error)


def test_facts_become_the_detail() -> None:
    """errors.py: its facts as attributes."""
    (entry,) = json.loads(
        error_body("DENIED", "no", errors.BlobTooLarge(limit_bytes=5, size_bytes=7))
    )["errors"]
    assert entry["detail"] == {"limit_bytes": 5, "size_bytes": 7}
    (entry,) = json.loads(error_body("BLOB_UNKNOWN", "no", errors.BlobNotFound(DIGEST)))["errors"]
    assert entry["detail"] == {"digest": str(DIGEST)}
    error = registry_errors.NamespaceMissing("app", ["ann", "team"])
    (entry,) = json.loads(error_body("DENIED", "no", error))["errors"]
    assert entry["detail"] == {"namespaces": ["ann", "team"]}, (
        "a list, not Python's spelling of one"
    )


def test_every_missing_reference_has_its_entry() -> None:
    """R48: one error per digest that is not there."""
    error = registry_errors.ManifestReferencesUnknown([DIGEST, OTHER])
    entries = json.loads(error_body("MANIFEST_BLOB_UNKNOWN", "no", error))["errors"]
    assert [entry["detail"] for entry in entries] == [
        {"digest": str(DIGEST)},
        {"digest": str(OTHER)},
    ]
    assert all(entry["code"] == "MANIFEST_BLOB_UNKNOWN" for entry in entries)


def test_a_bug_tells_nothing_of_itself() -> None:
    """http/errors.py: what is not in the table is a bug, told as a 500."""
    error = ZeroDivisionError("a secret")
    error.query = "SELECT secret"  # type: ignore[attr-defined]
    response = error_response(error)
    assert response.status == UNEXPECTED.status == 500
    assert isinstance(response.body, bytes)
    assert b"secret" not in response.body


def test_a_full_disk_is_told_in_the_status_line() -> None:
    """Section 7: docker reads only the status line of a 5xx."""
    response = error_response(errors.StorageFull())
    assert (response.status, response.reason) == (
        507,
        "Insufficient Storage: no space left on device",
    )


def test_refusals_for_good_are_denied() -> None:
    """Section 7: docker resends five times on other codes."""
    for kind, status in {errors.BlobTooLarge: 413, errors.UploadExpired: 403}.items():
        assert (TABLE[kind].status, TABLE[kind].code) == (status, "DENIED")


def test_a_wrong_method_is_told_the_right_ones() -> None:
    """RFC 9110: 405 carries Allow."""
    response = error_response(http_errors.MethodUnsupported("POST", ["GET", "HEAD"]))
    assert response.headers["Allow"] == "GET, HEAD"
