"""Two replicas, one bucket, PostgreSQL and nginx, by the files of `deploy/replicas/`."""

from __future__ import annotations

import secrets
import ssl
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.daemon import Daemon
from tests.deploy.nginx import running_nginx, substituted
from tests.engines.every import MOTO, SWIFT, needs_postgres
from tests.engines.ports import free_port
from tests.registry.protocol import digest_of
from tests.s3.conftest import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.nginx import Front
    from tests.engines.s3 import Bucket

EXAMPLE = Path(__file__).parents[2] / "deploy" / "replicas"
ADDRESSES = ("10.0.0.11:5000", "10.0.0.12:5000")

pytestmark = [
    needs_postgres,
    pytest.mark.needs("nginx"),
    pytest.mark.parametrize("engine", [MOTO, SWIFT], indirect=True),
]


@pytest.fixture
def replicas(bucket: Bucket, database: str, tmp_path: Path) -> Iterator[list[Daemon]]:
    """Two daemons on the example's file; secrets come from the environment, as in its unit."""
    secret = {
        "BLOBD_S3__ACCESS_KEY_ID": bucket.access.access_key_id,
        "BLOBD_S3__SECRET_ACCESS_KEY": bucket.access.secret_access_key,
        "BLOBD_CATALOG__URL": database,
    }
    unit = (EXAMPLE / "blobd.service").read_text(encoding="utf-8")
    assert all(name in unit for name in secret)
    config = tmp_path / "blobd.toml"
    config.write_text(
        substituted(
            (EXAMPLE / "blobd.toml").read_text(encoding="utf-8"),
            {
                "https://s3.example.org": bucket.access.endpoint_url,
                'bucket = "blobs"': f'bucket = "{bucket.name}"',
                "/var/lib/blobd": str(tmp_path / "state"),
            },
        )
    )
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Daemon(
                    tmp_path / f"replica-{number}",
                    settings={"upkeep.sweep_interval_s": "0", "registry.auth": "true"},
                    config=config,
                    environment=secret,
                    listen=f"127.0.0.1:{free_port()}",
                )
            )
            for number in range(2)
        ]


@pytest.fixture
def login(replicas: list[Daemon]) -> dict[str, str]:
    """The administrator's credential, which the first replica made."""
    (secret,) = [each.first_token for each in replicas if each.first_token is not None]
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def front(replicas: list[Daemon], tmp_path: Path) -> Iterator[Front]:
    places = dict(zip(ADDRESSES, (each.registry for each in replicas), strict=True))
    with running_nginx(EXAMPLE / "nginx.conf", tmp_path / "nginx", places) as front:
        yield front


def ask(
    front: Front, login: dict[str, str], method: str, target: str, body: bytes = b""
) -> tuple[int, str]:
    """Return the status, and where to go on."""
    connection = front.connect()
    connection.request(method, target, body, {"Content-Type": "application/octet-stream", **login})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    place = urlsplit(answer.headers.get("Location", target))
    return answer.status, f"{place.path}?{place.query}" if place.query else place.path


def fetch(front: Front, login: dict[str, str], digest: str) -> bytes:
    """Return a blob, redirected as any client is."""
    context = ssl.create_default_context(cafile=str(front.certificate))
    context.check_hostname = False
    request = urllib.request.Request(f"https://127.0.0.1:{front.port}/v2/admin/app/blobs/{digest}")
    # what logs in here is not for the engine that the answer leads to
    request.add_unredirected_header("Authorization", login["Authorization"])
    with urllib.request.urlopen(request, context=context) as answer:
        data: bytes = answer.read()
    return data


def test_a_push_goes_on_while_replicas_die(
    replicas: list[Daemon], front: Front, login: dict[str, str]
) -> None:
    """Promise 5: whoever is killed between two requests, the next is answered as if nothing was."""
    data = secrets.token_bytes(20 * MIB + 7)
    status, upload = ask(front, login, "POST", "/v2/admin/app/blobs/uploads/")
    assert status == 202
    for number, start in enumerate(range(0, len(data), 3 * MIB)):
        if number == 3:
            replicas[0].kill()
        status, upload = ask(front, login, "PATCH", upload, data[start : start + 3 * MIB])
        assert status == 202
    joint = "&" if "?" in upload else "?"
    status, _ = ask(front, login, "PUT", f"{upload}{joint}digest={digest_of(data)}")
    assert status == 201
    assert fetch(front, login, digest_of(data)) == data
    replicas[0].start()
    replicas[1].kill()
    assert fetch(front, login, digest_of(data)) == data


def test_a_large_body_passes_unbuffered(
    replicas: list[Daemon], front: Front, login: dict[str, str], tmp_path: Path
) -> None:
    """No size limit before blobd's own, and nothing kept on the proxy's disk."""
    data = secrets.token_bytes(64 * MIB)
    _, upload = ask(front, login, "POST", "/v2/admin/app/blobs/uploads/")
    joint = "&" if "?" in upload else "?"
    status, _ = ask(front, login, "PUT", f"{upload}{joint}digest={digest_of(data)}", data)
    assert status == 201
    assert fetch(front, login, digest_of(data)) == data
    kept = (tmp_path / "nginx" / kind for kind in ("client_body", "proxy"))
    assert not any(path.is_file() for folder in kept for path in folder.rglob("*"))
    assert sum(replica.metric("blobd_received_bytes_total") for replica in replicas) == len(data)
