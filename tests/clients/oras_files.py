"""oras, the Python client: pushes files, whatever they are."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.clients.contents import diff_ids

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oras.client import OrasClient

    from tests.images import Descriptor, Image

_CHUNK_BYTES = 4_000_000
_FILE = "application/octet-stream"


class Oras:
    """`OrasClient`; an image's layers are files to it."""

    sends_as_is: ClassVar = False

    def __init__(self, folder: Path, *, chunked: bool) -> None:
        self._folder = folder
        self._chunked = chunked
        self._pulls = 0
        self._secret: str | None = None

    def push(self, image: Image, reference: str) -> None:
        paths = (image.layout.path_of(layer.descriptor.digest) for layer in image.layers)
        files = [f"{path}:{_FILE}" for path in paths]
        self.push_files(files, reference)

    def push_files(
        self, files: list[str], reference: str, *, subject: Descriptor | None = None
    ) -> None:
        """Push files, each as path:media type, as an artifact; perhaps about a subject."""
        from oras.oci import Subject

        about = subject and Subject(subject.media_type, subject.digest, subject.size_bytes)
        self._client(reference).push(
            target=reference,
            files=files,
            subject=about,
            disable_path_validation=True,
            do_chunked=self._chunked,
            chunk_size=_CHUNK_BYTES,
            quiet=True,
        )

    def pull(self, reference: str) -> list[str]:
        return diff_ids(self.pull_files(reference))

    def pull_files(self, reference: str) -> list[Path]:
        """Pull an artifact and return its files."""
        self._pulls += 1
        folder = self._folder / f"pulled-{self._pulls}"
        folder.mkdir()
        client = self._client(reference)
        return [Path(file) for file in client.pull(target=reference, outdir=str(folder))]

    def delete(self, reference: str) -> None:
        """Delete the manifest that a tag names."""
        name, _, tag = reference.rpartition(":")
        assert self._client(reference).delete_tags(name, [tag])

    def copy(self, source: str, target: str) -> None:
        raise NotImplementedError("oras has no way to mount")

    def log_in(self, host: str, secret: str | None) -> None:
        self._secret = secret

    def forget(self) -> None:
        """Nothing: it remembers nothing."""

    def _client(self, reference: str) -> OrasClient:
        from oras.client import OrasClient

        client = OrasClient(hostname=_host(reference), insecure=True)
        if self._secret is not None:
            client.auth.set_basic_auth("somebody", self._secret)
        return client


@contextmanager
def open_oras(folder: Path) -> Iterator[Oras]:
    with _own_home(folder):
        yield Oras(folder, chunked=False)


@contextmanager
def open_oras_in_chunks(folder: Path) -> Iterator[Oras]:
    with _own_home(folder):
        yield Oras(folder, chunked=True)


@contextmanager
def _own_home(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        yield


def _host(reference: str) -> str:
    return reference.partition("/")[0]
