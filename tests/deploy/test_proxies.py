"""What real proxies do with the registry's requests and answers, by their files in `deploy/`."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.clients.commands import Home
from tests.daemon import Daemon
from tests.deploy.proxies import PROXIES, running_apache
from tests.images import Layout
from tests.registry.acts import image
from tests.registry.protocol import digest_of, with_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPMessage
    from pathlib import Path

    from tests.deploy.nginx import Front

MIB = 1024 * 1024
LIMIT_BYTES = 40 * MIB
OCTETS = {"Content-Type": "application/octet-stream"}
FORGED = {
    "X-Forwarded-For": "203.0.113.66",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "http",
    "Forwarded": "for=203.0.113.66;host=evil.example;proto=http",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One that trusts proxies on this machine and has limits that a test can pass."""
    settings = {
        "store.durability": "none",
        "registry.auth": "true",
        "registry.trusted_proxies": "127.0.0.1",
        "limits.max_blob_bytes": str(LIMIT_BYTES),
    }
    with Daemon(tmp_path_factory.mktemp("proxies") / "data", settings=settings) as running:
        yield running


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.needs(proxy.program))
        for name, proxy in PROXIES.items()
    ],
)
def front(
    request: pytest.FixtureRequest, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    """Each proxy in turn, in front of the one daemon."""
    folder = tmp_path_factory.mktemp("proxy") / request.param
    with PROXIES[request.param].run(folder, daemon.registry) as running:
        yield running


class Client:
    """The administrator, through a proxy; a connection for each request."""

    def __init__(self, front: Front, daemon: Daemon) -> None:
        self._front = front
        self._login = {"Authorization": f"Bearer {daemon.first_token}"}

    def ask(
        self,
        method: str,
        target: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, HTTPMessage, bytes]:
        connection = self._front.connect()
        connection.request(method, target, body, {**self._login, **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    def start(self, name: str) -> str:
        status, headers, content = self.ask("POST", f"/v2/admin/{name}/blobs/uploads/")
        assert status == 202, content
        return str(headers["Location"])

    def push(self, name: str, data: bytes) -> str:
        digest = digest_of(data)
        place = with_digest(self.start(name), digest)
        status, _, content = self.ask("PUT", place, data, OCTETS)
        assert status == 201, content
        return digest


@pytest.fixture
def client(front: Front, daemon: Daemon) -> Client:
    return Client(front, daemon)


def is_written_in_go(request: pytest.FixtureRequest) -> bool:
    """Whether the proxy ends a connection half a second after an early answer (Go's net/http).

    Of clients that look while they send, most read that answer, and some see the connection end.
    """
    return request.node.callspec.params["front"] in {"caddy", "traefik"}


def test_a_refusal_is_read_by_a_client_that_sends_all_first(
    client: Client, request: pytest.FixtureRequest
) -> None:
    """Design section 7: 413, not 502 and not a broken connection; announced, or met on the way."""
    if is_written_in_go(request):
        pytest.skip("Go's server hangs up on who does not look at an early answer")
    large = bytes(150 * MIB)
    place = with_digest(client.start("large"), digest_of(b""))
    status, _, content = client.ask("PUT", place, large, OCTETS)
    assert (status, json.loads(content)["errors"][0]["code"]) == (413, "DENIED")
    chunks = (large[:MIB] for _ in range(150))
    status, _, content = client.ask("PATCH", client.start("large"), chunks, OCTETS)
    assert (status, json.loads(content)["errors"][0]["code"]) == (413, "DENIED")


@pytest.mark.needs("curl")
@pytest.mark.parametrize("expect", ["", "100-continue"])
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_a_refusal_is_read_by_a_client_that_looks(
    client: Client,
    front: Front,
    daemon: Daemon,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    expect: str,
    coding: str,
) -> None:
    """RFC 9110, section 10.1.1: with and without Expect; by HTTP/2 where the proxy offers it."""
    answer = tmp_path / "answer"

    def push(size_bytes: int) -> tuple[str, bytes]:
        data = bytes(size_bytes)
        (tmp_path / "body").write_bytes(data)
        place = with_digest(client.start("asked"), digest_of(data))
        answer.write_bytes(b"")
        with (tmp_path / "body").open("rb") as body:
            run = subprocess.run(
                [
                    *("curl", "-sS", "--cacert", front.certificate, "-o", answer),
                    *("-w", "%{http_code}", "-H", f"Expect: {expect}".strip()),
                    *("-T", tmp_path / "body" if coding == "length" else "-"),
                    *("-H", f"Authorization: Bearer {daemon.first_token}"),
                    f"https://127.0.0.1:{front.port}{place}",
                ],
                stdin=body,
                capture_output=True,
                text=True,
                timeout=60,
            )
        return run.stdout, answer.read_bytes()

    assert push(2 * MIB)[0] == "201"
    found = []
    for _ in range(5 if is_written_in_go(request) else 1):
        status, content = push(150 * MIB)
        found.append((status, content))
        if status == "413" and b"DENIED" in content:
            return
    raise AssertionError(found)


def test_bytes_arrive_while_the_body_is_still_being_sent(
    client: Client, front: Front, daemon: Daemon
) -> None:
    """Nothing waits on the proxy's disk or in its memory for a body's end."""
    data = secrets.token_bytes(24 * MIB)
    place = client.start("slow")

    def pieces() -> Iterator[bytes]:
        before = daemon.metric("blobd_received_bytes_total")
        yield data[: 16 * MIB]
        deadline = time.monotonic() + 30
        while daemon.metric("blobd_received_bytes_total") - before < 8 * MIB:
            assert time.monotonic() < deadline, "the proxy keeps what it was sent"
            time.sleep(0.05)
        yield data[16 * MIB :]

    status, headers, content = client.ask("PATCH", place, pieces(), OCTETS)
    assert status == 202, content
    digest = digest_of(data)
    assert client.ask("PUT", with_digest(headers["Location"], digest))[0] == 201
    status, _, content = client.ask("GET", f"/v2/admin/slow/blobs/{digest}")
    assert (status, content == data) == (200, True)


def test_paths_arrive_as_they_were_sent(client: Client) -> None:
    """RFC 3986, section 2.2: %2F is not a slash, and what is encoded is decoded once."""
    config = client.push("tools/server", b"{}")
    manifest = image(config, client.push("tools/server", b"layer"))
    kind = {"Content-Type": json.loads(manifest)["mediaType"]}
    assert client.ask("PUT", "/v2/admin/tools/server/manifests/v1", manifest, kind)[0] == 201
    status, _, content = client.ask("GET", "/api/user/packages/container/tools%2Fserver")
    assert (status, json.loads(content).get("name")) == (200, "tools/server"), content
    assert client.ask("GET", "/api/user/packages/container/tools%252Fserver")[0] == 404
    digest = digest_of(b"layer").replace(":", "%3A")
    assert client.ask("HEAD", f"/v2/admin/tools/server/blobs/{digest}")[0] == 200


def test_long_heads_pass_both_ways(client: Client) -> None:
    """A thousand ranges asked for, and an answer that names forty tags of 128 characters."""
    data = secrets.token_bytes(4 * MIB)
    digest = client.push("heads", data)
    spans = [(1_000_000 + 2_000 * i, 1_000_000 + 2_000 * i + 99) for i in range(1024)]
    asked = "bytes=" + ",".join(f"{start:010}-{stop:010}" for start, stop in spans)
    assert 22_000 < len(asked) < 24_000
    status, headers, content = client.ask("GET", f"/v2/admin/heads/blobs/{digest}", None,
                                          {"Range": asked})  # fmt: skip
    assert status == 206
    assert headers.get_content_type() == "multipart/byteranges"
    assert content.count(b"Content-Range: ") == 1024
    manifest = image(client.push("heads", b"{}"), digest)
    tags = "&".join(f"tag={'t' * 125}{i:03}" for i in range(40))
    kind = {"Content-Type": json.loads(manifest)["mediaType"]}
    target = f"/v2/admin/heads/manifests/{digest_of(manifest)}?{tags}"
    status, headers, content = client.ask("PUT", target, manifest, kind)
    assert status == 201, content
    assert ", ".join(headers.get_all("OCI-Tag") or ()).count("t" * 125) == 40


def test_clients_cannot_speak_for_the_proxy(client: Client, front: Front) -> None:
    """The realm and the audit say what the proxy saw, whatever a client claims."""
    host = f"127.0.0.1:{front.port}"
    status, headers, _ = client.ask("GET", "/v2/", None, {"Authorization": "", **FORGED})
    assert (status, f'realm="https://{host}/token"' in headers["WWW-Authenticate"]) == (401, True)
    name = secrets.token_hex(6)
    manifest = image(client.push(name, b"{}"), client.push(name, b"layer"))
    kind = {"Content-Type": json.loads(manifest)["mediaType"]}
    target = f"/v2/admin/{name}/manifests/v1"
    assert client.ask("PUT", target, manifest, {**kind, **FORGED})[0] == 201
    seen: list[dict[str, str]] = []
    deadline = time.monotonic() + 60
    while not seen:  # it is written in groups
        assert time.monotonic() < deadline, "the push is not in the audit"
        entries = json.loads(client.ask("GET", "/api/audit?per_page=100")[2])
        seen = [entry for entry in entries if name in str(entry)]
    assert {entry["address"] for entry in seen} == {"127.0.0.1"}


def test_logs_hold_no_secrets_of_uploads(client: Client, front: Front) -> None:
    """An upload's URL lets whoever has it go on: what a proxy writes leaves queries out."""
    place = client.start("logged")
    assert "?" in place
    assert client.ask("PATCH", place, b"bytes", OCTETS)[0] == 202
    path, _, query = place.partition("?")
    files = [file for file in front.certificate.parent.rglob("*") if file.is_file()]
    written = "".join(file.read_text(errors="replace") for file in files)
    assert query not in written
    if (front.certificate.parent / "access.log").exists():
        assert path in written, "the log is another one"


@pytest.mark.needs("skopeo")
def test_a_real_client_pushes_and_pulls(front: Front, daemon: Daemon, tmp_path: Path) -> None:
    """skopeo, with HTTP/2 where the proxy offers it."""
    content = tmp_path / "content"
    content.write_bytes(secrets.token_bytes(3 * MIB))
    layout = Layout(tmp_path / "layout")
    made = layout.add_image("v1", [layout.add_layer([(content, "content")])])
    place = f"docker://127.0.0.1:{front.port}/admin/{secrets.token_hex(4)}:v1"
    login = f"admin:{daemon.first_token}"
    (tmp_path / "home").mkdir()
    home = Home(tmp_path / "home")
    home.run(
        *("skopeo", "--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false"),
        *("--dest-creds", login, f"oci:{layout.folder}:v1", place),
    )
    home.run(
        *("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false", "--src-creds", login),
        *(place, f"dir:{tmp_path / 'back'}"),
    )
    for layer in made.layers:
        name = layer.descriptor.digest.removeprefix("sha256:")
        assert (tmp_path / "back" / name).read_bytes() == layout.read(layer.descriptor)


@pytest.mark.needs("apache2")
def test_an_apache_that_does_not_ask_first_passes_the_refusal_on(
    daemon: Daemon, tmp_path: Path
) -> None:
    """`limits.refused_drain_bytes`: it sends all of the body before it reads the answer."""
    with running_apache(tmp_path / "apache", daemon.registry, ping=False) as front:
        client = Client(front, daemon)
        place = with_digest(client.start("large"), digest_of(b""))
        status, _, content = client.ask("PUT", place, bytes(300_000_000), OCTETS)
    assert (status, json.loads(content)["errors"][0]["code"]) == (413, "DENIED")


@pytest.mark.long
@pytest.mark.needs(*(proxy.program for proxy in PROXIES.values()))
def test_slow_bodies_outlast_every_default(daemon: Daemon, tmp_path: Path) -> None:
    """Traefik ends requests after 60 s, Apache bodies after 20 s of less than 500 bytes each."""
    data = secrets.token_bytes(100_000)

    def pieces() -> Iterator[bytes]:
        for start in range(0, 60_000, 20_000):
            yield data[start : start + 20_000]
            time.sleep(26)
        yield data[60_000:]

    def push(name: str) -> tuple[int, str | None, bytes]:
        with PROXIES[name].run(tmp_path / name, daemon.registry) as front:
            client = Client(front, daemon)
            status, headers, content = client.ask("PATCH", client.start(name), pieces(), OCTETS)
            return status, headers["Range"], content

    with ThreadPoolExecutor(len(PROXIES)) as pool:
        found = dict(zip(PROXIES, pool.map(push, PROXIES), strict=True))
    assert {name: answer[:2] for name, answer in found.items()} == dict.fromkeys(
        PROXIES, (202, "0-99999")
    ), found
