"""What a client hands back, read from the files it writes, by nothing that made them."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import IO

_GZIP_MAGIC = b"\x1f\x8b"


def layers_of_layout(folder: Path) -> list[str]:
    """Return the diff ids of the one image in an OCI layout, in order, from its layers' bytes."""
    named = json.loads((folder / "index.json").read_bytes())["manifests"]
    assert len(named) == 1, f"{len(named)} images where one was pulled"
    manifest = json.loads(_blob(folder, named[0]["digest"]).read_bytes())
    return diff_ids(_blob(folder, layer["digest"]) for layer in manifest["layers"])


def layers_of_archive(archive: Path, into: Path) -> list[str]:
    """Return the diff ids of the one image in an archive by docker or ctr; it is unpacked."""
    into.mkdir()
    subprocess.run(["tar", "--extract", f"--file={archive}", f"--directory={into}"], check=True)
    if not (into / "manifest.json").exists():
        return layers_of_layout(into)
    images = json.loads((into / "manifest.json").read_bytes())
    assert len(images) == 1, f"{len(images)} images where one was pulled"
    return diff_ids(into / name for name in images[0]["Layers"])


def diff_ids(layers: Iterable[Path]) -> list[str]:
    """Return the digests of layers' tars, uncompressed."""
    return [_diff_id(layer) for layer in layers]


def _diff_id(layer: Path) -> str:
    with layer.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        plain = cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if packed else file
        return f"sha256:{hashlib.file_digest(plain, 'sha256').hexdigest()}"  # type: ignore[arg-type]


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / digest.replace(":", "/")
