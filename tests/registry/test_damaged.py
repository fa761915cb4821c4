"""Stored bytes that somebody removed, cut or lengthened: never served, found, healed by a push."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.daemon import Daemon
from tests.registry.protocol import OCTETS, Registry, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.registry.protocol import Answer

DATA = bytes(range(256)) * 400
CONFIG = b"{}"
_IMAGE = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module", params=[1, 2], ids=["one-worker", "two-workers"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    settings = {"store.durability": "none", "server.workers": str(request.param)}
    with Daemon(tmp_path_factory.mktemp("damaged") / "data", settings=settings) as daemon:
        yield daemon


def blob_file(daemon: Daemon, digest: str) -> Path:
    algorithm, _, encoded = digest.partition(":")
    return daemon.data / "blobs" / algorithm / encoded[:2] / encoded


def remove(path: Path) -> None:
    path.unlink()


def resize(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def cut(path: Path) -> None:
    resize(path, DATA[:-1000])


def empty(path: Path) -> None:
    resize(path, b"")


def lengthen(path: Path) -> None:
    resize(path, DATA + b"more")


harms = pytest.mark.parametrize("harm", [remove, cut, empty, lengthen])


def manifest_of(layer: str) -> bytes:
    def named(media_type: str, digest: str, size_bytes: int) -> dict[str, object]:
        return {"mediaType": media_type, "digest": digest, "size": size_bytes}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": _IMAGE,
            "config": named("application/vnd.oci.image.config.v1+json", digest_of(CONFIG), 2),
            "layers": [named("application/vnd.oci.image.layer.v1.tar", layer, len(DATA))],
        }
    ).encode()


def asks(registry: Registry, path: str) -> list[Callable[[], Answer]]:
    return [
        lambda: registry.head(path),
        lambda: registry.get(path),
        lambda: registry.get(path, Range="bytes=0-9"),
        lambda: registry.get(path, Range="bytes=0-9,20-29"),
    ]


@harms
@pytest.mark.parametrize("first", range(4), ids=["head", "get", "range", "ranges"])
def test_damage_is_found_by_whoever_asks_first(
    served: Daemon, name: str, harm: Callable[[Path], None], first: int
) -> None:
    """Promise 1: never a 200 with a wrong length; then everyone is told that it is not there."""
    registry = Registry(served.registry)
    digest = registry.push(name, DATA)
    registry.push(f"{name}/other", DATA)
    harm(blob_file(served, digest))
    answers = asks(registry, f"/v2/{name}/blobs/{digest}")
    assert answers[first]().status == 404
    assert [ask().status for ask in answers * 2] == [404] * 8
    blob_api = Registry(served.blob_api_url.removeprefix("http://"))
    assert [ask().status for ask in asks(blob_api, f"/blobs/{digest}")] == [404] * 4
    registry.push(name, DATA)
    for repository in (name, f"{name}/other"):
        assert registry.get(f"/v2/{repository}/blobs/{digest}").body == DATA
    assert blob_api.get(f"/blobs/{digest}").body == DATA
    assert list((served.data / "quarantine").iterdir()) == []


@harms
def test_the_blob_api_finds_damage(served: Daemon, name: str, harm: Callable[[Path], None]) -> None:
    """Without a word to the registry."""
    registry = Registry(served.registry)
    digest = registry.push(name, DATA)
    harm(blob_file(served, digest))
    blob_api = Registry(served.blob_api_url.removeprefix("http://"))
    assert blob_api.get(f"/blobs/{digest}").status == 404
    assert registry.head(f"/v2/{name}/blobs/{digest}").status == 404
    registry.push(name, DATA)
    assert blob_api.get(f"/blobs/{digest}").body == DATA


@harms
def test_a_damaged_blob_is_not_mounted(
    served: Daemon, name: str, harm: Callable[[Path], None]
) -> None:
    """Whoever asks for a mount is asked for the bytes, and these heal every repository."""
    registry = Registry(served.registry)
    digest = registry.push(name, DATA)
    harm(blob_file(served, digest))
    answer = registry.start(f"{name}/other", f"?mount={digest}&from={name}")
    assert answer.status == 202
    answer = registry.send("PUT", f"{answer.location}?digest={digest}", DATA, OCTETS)
    assert answer.status == 201
    assert registry.get(f"/v2/{name}/blobs/{digest}").body == DATA
    assert registry.start(f"{name}/third", f"?mount={digest}&from={name}").status == 201


@harms
def test_a_manifest_that_names_a_damaged_blob_is_refused(
    served: Daemon, name: str, harm: Callable[[Path], None]
) -> None:
    """It would name what nobody can pull; once the blob was pushed again it is taken."""
    registry = Registry(served.registry)
    registry.push(name, CONFIG)
    digest = registry.push(name, DATA)
    harm(blob_file(served, digest))
    answer = registry.put_manifest(name, "latest", manifest_of(digest))
    assert (answer.status, answer.codes) == (400, ["MANIFEST_BLOB_UNKNOWN"])
    registry.push(name, DATA)
    assert registry.put_manifest(name, "latest", manifest_of(digest)).status == 201


def test_links_manifests_and_tags_stay(served: Daemon, name: str) -> None:
    """What a push of the layer alone makes whole again."""
    registry = Registry(served.registry)
    registry.push(name, CONFIG)
    digest = registry.push(name, DATA)
    assert registry.put_manifest(name, "latest", manifest_of(digest)).status == 201
    cut(blob_file(served, digest))
    assert registry.get(f"/v2/{name}/blobs/{digest}").status == 404
    kept = served.data / "quarantine" / digest.replace(":", "-")
    assert kept.read_bytes() == DATA[:-1000]
    assert registry.get(f"/v2/{name}/manifests/latest").status == 200
    location = registry.start(name).location
    assert registry.send("PUT", f"{location}?digest={digest}", DATA, OCTETS).status == 201
    assert registry.get(f"/v2/{name}/blobs/{digest}").body == DATA
    assert not kept.exists()


def test_who_may_not_see_a_blob_learns_nothing(served: Daemon, name: str) -> None:
    """Promise 10: a damaged blob answers strangers as an unknown one does."""
    registry = Registry(served.registry)
    digest = registry.push(f"{name}/private", DATA + name.encode())
    remove(blob_file(served, digest))
    unknown = digest_of(b"unknown" + name.encode())
    registry.push(name, CONFIG)
    for asked in (digest, unknown):
        answer = registry.get(f"/v2/{name}/blobs/{asked}")
        assert (answer.status, answer.codes) == (404, ["BLOB_UNKNOWN"])


def test_damage_is_counted_and_logged(tmp_path: Path, name: str) -> None:
    """Once, with what is wrong."""
    with Daemon(tmp_path / "data", settings={"store.durability": "none"}) as daemon:
        registry = Registry(daemon.registry)
        digest = registry.push(name, DATA)
        cut(blob_file(daemon, digest))
        for _ in range(3):
            assert registry.head(f"/v2/{name}/blobs/{digest}").status == 404
        metrics = Registry(daemon.blob_api_url.removeprefix("http://")).get("/metrics").body
        assert b'blobd_quarantined_blobs_total{reason="size"} 1.0' in metrics
    lines = [line for line in daemon.stderr.splitlines() if "quarantined" in line]
    assert len(lines) == 1
    assert digest in lines[0]
    assert "reason=size" in lines[0]
