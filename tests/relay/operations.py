"""The names of S3's operations, from how they look on the wire (path style)."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

_OF_UPLOADS = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploadId"): "ListParts",
    ("GET", "uploads"): "ListMultipartUploads",
}


def operation_of(method: str, target: str) -> str:
    """Return what a request asks for, as boto3's API names it."""
    _, key = bucket_and_key(target)
    query = parse_qs(urlsplit(target).query, keep_blank_values=True)
    for (wanted, field), name in _OF_UPLOADS.items():
        if wanted == method and field in query:
            return name
    if key:
        return f"{method.title()}Object"
    if method == "GET":
        return "ListObjectsV2"
    return "DeleteObjects" if "delete" in query else f"{method.title()}Bucket"


def bucket_and_key(target: str) -> tuple[str, str]:
    """Return what a target names; the key is empty where it is the bucket."""
    bucket, _, key = unquote(urlsplit(target).path).lstrip("/").partition("/")
    return bucket, key
