"""Replicas that share nothing but a bucket and a database, behind a balancer that goes round."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients.everyone import OF_IMAGES, SKOPEO, opened
from tests.clients.registry_reader import Repository
from tests.daemon import Daemon
from tests.engines.every import MOTO, SEAWEEDFS, SWIFT, needs_postgres
from tests.images import Image, Layout
from tests.layers import files_below
from tests.registry.protocol import Registry, digest_of
from tests.relay.relay import Relay
from tests.s3.conftest import MIB, PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clients.client import Client
    from tests.engines.postgres import Postgres
    from tests.engines.s3 import Bucket

pytestmark = [
    needs_postgres,
    pytest.mark.parametrize("engine", [MOTO, SWIFT, SEAWEEDFS], indirect=True),
]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image of real files: one layer of several parts, and a small one."""
    layout = Layout(tmp_path_factory.mktemp("image") / "layout")
    layers = [
        layout.add_layer(files_below(Path("/usr/bin"), at_most_bytes=24 * MIB), compressed=False),
        layout.add_layer(files_below(Path("/usr/lib"), at_most_bytes=2 * MIB), compressed=True),
    ]
    return layout.add_image("made", layers)


@pytest.fixture
def replicas(bucket: Bucket, database: str, tmp_path: Path) -> Iterator[list[Daemon]]:
    """Two daemons that are started at once on an empty bucket and an empty database."""
    settings = {
        **bucket.settings(),
        "s3.part_size_bytes": str(PART_BYTES),
        "catalog.url": database,
        "upkeep.sweep_interval_s": "0",
    }
    with ExitStack() as stack:
        yield [
            stack.enter_context(Daemon(tmp_path / name, settings=settings))
            for name in ("one", "two")
        ]


@pytest.fixture
def balancer(replicas: list[Daemon]) -> Iterator[str]:
    """The address of both: requests go to one and the other in turn."""
    with Relay(*(replica.registry for replica in replicas)) as relay:
        yield relay.address


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with opened(request.param) as client:
        yield client


@pytest.mark.parametrize("client", OF_IMAGES, indirect=True)
def test_every_client_pushes_and_pulls_through_both(
    balancer: str, client: Client, image: Image
) -> None:
    """Issue: any replica continues and commits any upload; what one stored, the other serves."""
    repository = Repository(balancer, f"acme/image-{secrets.token_hex(4)}")
    client.push(image, repository.at("v1"))
    client.forget()
    assert client.pull(repository.at("v1")) == image.diff_ids


@pytest.mark.parametrize("client", [SKOPEO], indirect=True)
def test_what_was_pushed_outlives_both(
    replicas: list[Daemon], balancer: str, client: Client, image: Image
) -> None:
    """Promise 3: kill -9 of all replicas at once; nothing of it was in them."""
    repository = Repository(balancer, "acme/kept")
    client.push(image, repository.at("v1"))
    for replica in replicas:
        replica.kill()
    for replica in replicas:
        replica.start()
    client.forget()
    assert client.pull(repository.at("v1")) == image.diff_ids


def test_a_replica_that_dies_is_replaced_in_the_middle(replicas: list[Daemon]) -> None:
    """Promise 5: with another replica's memory, folder and catalog."""
    one, two = (Registry(replica.registry) for replica in replicas)
    data = secrets.token_bytes(2 * PART_BYTES + 9)
    upload = one.start("acme/app").location
    assert one.send("PATCH", upload, data[:PART_BYTES]).status == 202
    replicas[0].kill()
    looked = two.get(upload)
    assert looked.headers["Range"] == f"0-{PART_BYTES - 1}"
    assert two.send("PATCH", looked.location, data[PART_BYTES:]).status == 202
    ended = two.send("PUT", f"{upload}?digest={digest_of(data)}")
    assert ended.status == 201
    found = two.get(f"/v2/acme/app/blobs/{digest_of(data)}")
    assert found.status == 307
    assert replicas[1].metric("blobd_reread_bytes_total") == 0


@contextmanager
def down(postgres: Postgres) -> Iterator[None]:
    postgres.kill()
    try:
        yield
    finally:
        postgres.start()


def test_while_the_database_is_away_nothing_is_promised(
    replicas: list[Daemon], postgres: Postgres
) -> None:
    """Issue, faults: 503 with Retry-After, and by itself all is well again."""
    one = Registry(replicas[0].registry)
    data = secrets.token_bytes(MIB)
    upload = one.start("acme/app").location
    with down(postgres):
        answer = one.send("PUT", f"{upload}?digest={digest_of(data)}", data)
        assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    assert one.send("PUT", f"{upload}?digest={digest_of(data)}", data).status == 201
    assert one.head(f"/v2/acme/app/blobs/{digest_of(data)}").status == 200
