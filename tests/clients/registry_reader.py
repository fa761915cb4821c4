"""Reads the registry over plain HTTP, as a judge between clients."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from email.message import Message

_WITHIN_S = 600


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository of the registry at `host`, with its port."""

    host: str
    name: str

    def at(self, tag: str) -> str:
        """Return what clients call a tag of this repository."""
        return f"{self.host}/{self.name}:{tag}"

    def by(self, digest: str) -> str:
        """Return what clients call a manifest of this repository."""
        return f"{self.host}/{self.name}@{digest}"

    def ask(self, path: str, *, method: str = "GET") -> Answer:
        """Return whatever the registry answers."""
        url = f"http://{self.host}/v2/{self.name}/{path}"
        request = urllib.request.Request(url, method=method, headers={"Accept": "*/*"})
        try:
            with urllib.request.urlopen(request, timeout=_WITHIN_S) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def manifest(self, reference: str) -> Answer:
        """Return a manifest that must be there, having checked its digest."""
        answer = self.ask(f"manifests/{reference}")
        assert answer.status == 200, f"{reference} in {self.name}: {answer.body!r}"
        digest = f"sha256:{hashlib.sha256(answer.body).hexdigest()}"
        assert answer.headers["Docker-Content-Digest"] == digest
        return answer

    def blobs(self, reference: str) -> list[str]:
        """Return the digests that an image manifest names, having read each blob to its end."""
        manifest = self.manifest(reference).json()
        named = [manifest["config"], *manifest["layers"]]
        for blob in named:
            self._check_blob(blob["digest"], size_bytes=blob["size"])
        return [blob["digest"] for blob in named]

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """Return the descriptors of what has a subject of this digest."""
        answer = self.ask(f"referrers/{digest}")
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.json()["manifests"]
        return found

    def _check_blob(self, digest: str, *, size_bytes: int) -> None:
        url = f"http://{self.host}/v2/{self.name}/blobs/{digest}"
        with urllib.request.urlopen(url, timeout=_WITHIN_S) as answer:
            assert int(answer.headers["Content-Length"]) == size_bytes
            got = hashlib.file_digest(answer, "sha256").hexdigest()
        assert f"sha256:{got}" == digest
