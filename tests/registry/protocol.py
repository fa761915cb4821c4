"""A client of the registry that hides nothing: one request, one connection, every header."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.backends import acts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OCTETS = {"Content-Type": "application/octet-stream"}
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def location(self) -> str:
        return self.headers["Location"]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The codes of an error, checked to be in the documented form (R70)."""
        assert self.headers["Content-Type"] == "application/json"
        errors = self.json()["errors"]
        assert errors
        for error in errors:
            assert set(error) == {"code", "message", "detail"}
            assert error["message"]
            assert error["code"].replace("_", "").isupper()
        return [error["code"] for error in errors]


class Registry:
    """A registry at host:port."""

    def __init__(self, address: str) -> None:
        self._address = address

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; an iterable body goes in chunks, without a length."""
        connection = HTTPConnection(self._address, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers={n.replace("_", "-"): v for n, v in headers.items()})

    def head(self, path: str) -> Answer:
        return self.send("HEAD", path)

    def delete(self, path: str) -> Answer:
        return self.send("DELETE", path)

    def start(self, name: str, query: str = "") -> Answer:
        """POST an upload."""
        return self.send("POST", f"/v2/{name}/blobs/uploads/{query}")

    def push(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """Push a blob by POST and PUT; return its digest."""
        digest = digest_of(data, algorithm)
        location = self.start(name).location
        answer = self.send("PUT", with_digest(location, digest), data, OCTETS)
        assert answer.status == 201, answer.body
        return digest

    def put_manifest(
        self, name: str, reference: str, content: bytes, media_type: str | None = None
    ) -> Answer:
        """PUT a manifest, with the media type that its body says unless another is given."""
        if media_type is None:
            media_type = json.loads(content)["mediaType"]
        path = f"/v2/{name}/manifests/{reference}"
        return self.send("PUT", path, content, {"Content-Type": media_type})


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return str(acts.digest_of(data, algorithm))


def with_digest(location: str, digest: str) -> str:
    """Add `digest` to a location as clients do, keeping what parameters it has."""
    return f"{location}{'&' if urlsplit(location).query else '?'}digest={digest}"


def next_page(answer: Answer) -> str | None:
    """Return the path that a Link header leads to."""
    link = answer.headers["Link"]
    if link is None:
        return None
    path, _, relation = link.partition(">; ")
    assert relation == 'rel="next"'
    return str(path.removeprefix("<"))
