"""Every client against a closed registry: log in, push, share, publish, delete, restore."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.processes import run_blobd
from tests.clients.commands import CommandFailed, Home
from tests.clients.everyone import BUILDAH, DOCKER, PODMAN, SKOPEO, needs_skopeo
from tests.daemon import Daemon
from tests.images import Layout, foreign_layer
from tests.layers import files_below
from tests.registry.protocol import Answer, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.client import Client
    from tests.clients.skopeo import Skopeo
    from tests.images import Image

README = Path(__file__).parents[2] / "README.md"
PREFIX = "org.opencontainers.image."


@dataclass(frozen=True, slots=True)
class Town:
    """A closed registry, with an owner, and somebody who is not."""

    daemon: Daemon
    owner: str
    """A token of who owns `acme`."""
    reader: str
    """A token of somebody else, for reading alone."""

    @property
    def host(self) -> str:
        return self.daemon.registry

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Call the API as the owner."""
        shown = {"Authorization": f"Bearer {self.owner}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body).encode()
        return Registry(self.host).send(method, f"/api{path}", content, shown)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    data = tmp_path_factory.mktemp("closed") / "data"
    settings = {
        "server.workers": "2",
        "registry.auth": "true",
        "registry.trash_retention_s": "86400",
    }
    with Daemon(data, settings=settings) as daemon:
        for words in (
            ("user", "add", "olga"),
            ("user", "add", "rita"),
            ("org", "add", "acme", "--owner", "olga"),
        ):
            assert run_blobd(*words, "--data", data).returncode == 0
        every = [f"--scope={scope}:packages" for scope in ("read", "write", "delete")]
        yield Town(
            daemon, _token(data, "olga", *every), _token(data, "rita", "--scope=read:packages")
        )


def _token(data: Path, user: str, *scopes: str) -> str:
    run = run_blobd("token", "create", "--user", user, *scopes, "--data", data)
    assert run.returncode == 0, run.stderr
    return run.stdout.decode().strip()


@pytest.fixture
def name() -> str:
    return f"app-{secrets.token_hex(4)}"


def refused(call: Callable[..., object], *arguments: object) -> str:
    """Return what a client says of a call that must fail."""
    with pytest.raises((CommandFailed, ValueError, OSError)) as caught:
        call(*arguments)
    return str(caught.value).lower()


def test_from_login_to_restore(town: Town, client: Client, image: Image, name: str) -> None:
    """Refused, logged in, pushed, published, pulled by anybody, deleted, restored."""
    reference = f"{town.host}/acme/{name}:v1"
    package = f"/orgs/acme/packages/container/{name}"
    # nobody known pushes
    told = refused(client.push, image, reference)
    assert "unauthorized" in told or "authorization" in told or "authentication" in told, told
    # the owner does; the first push is private
    client.log_in(town.host, town.owner)
    client.push(image, reference)
    client.push(image, f"{town.host}/acme/{name}:latest")
    assert town.ask("GET", package).json()["visibility"] == "private"
    # neither somebody else nor nobody pulls it
    client.log_in(town.host, town.reader)
    client.forget()
    told = refused(client.pull, reference)
    assert "not found" in told or "is not known here" in told, told
    client.log_in(town.host, None)
    client.forget()
    assert "unauthorized" in refused(client.pull, reference)
    # published, anybody does: by tag, by latest, by digest
    assert town.ask("PATCH", package, {"visibility": "public"}).status == 200
    expected = image.diff_ids
    versions = town.ask("GET", f"{package}/versions").json()
    digest = versions[0]["name"]
    for shown in (
        reference,
        f"{town.host}/acme/{name}:latest",
        f"{town.host}/acme/{name}@{digest}",
    ):
        client.forget()
        assert client.pull(shown) == expected
    # who may read may not push, and is told what it takes
    client.log_in(town.host, town.reader)
    told = refused(client.push, image, f"{town.host}/acme/{name}:v2")
    assert "denied" in told or "forbidden" in told, told
    client.log_in(town.host, None)
    # deleted, it is gone; restored, it is back
    assert town.ask("DELETE", package).status == 204
    client.forget()
    told = refused(client.pull, reference)  # for a second it is remembered who might read it
    assert "unauthorized" in told or "not found" in told or "is not known here" in told, told
    assert town.ask("POST", f"{package}/restore").status == 204
    client.forget()
    assert client.pull(reference) == expected


@pytest.mark.parametrize("client", [SKOPEO, PODMAN, BUILDAH, DOCKER], indirect=True)
def test_a_push_without_a_namespace_says_where_to(
    town: Town, client: Client, image: Image, name: str
) -> None:
    """The names that would do reach the user; containerd and oras show no messages of a 403."""
    client.log_in(town.host, town.owner)
    told = refused(client.push, image, f"{town.host}/{name}:v1")
    client.log_in(town.host, None)
    assert f"push to olga/{name}, acme/{name}" in told, told


@needs_skopeo
def test_a_refusal_names_role_and_scope(
    town: Town, skopeo: Skopeo, image: Image, name: str
) -> None:
    skopeo.log_in(town.host, town.owner)
    skopeo.push(image, f"{town.host}/acme/{name}:v1")
    town.ask("PATCH", f"/orgs/acme/packages/container/{name}", {"visibility": "public"})
    skopeo.log_in(town.host, town.reader)
    told = refused(skopeo.push, image, f"{town.host}/acme/{name}:v2")
    assert "role write" in told
    assert "write:packages" in told


@needs_skopeo
def test_several_platforms_with_a_description_and_a_foreign_layer(
    town: Town, skopeo: Skopeo, image: Image, name: str, tmp_path: Path
) -> None:
    """An index's annotations describe it; what lives elsewhere is not asked for."""
    layout = Layout(tmp_path / "layout")
    files = files_below(Path("/usr/share"), at_most_bytes=100_000)
    layer = layout.add_layer(files)
    elsewhere = foreign_layer(layer, "https://example.org/windows")
    one = layout.add_image("one", [layer])
    windows = layout.add_image("windows", [elsewhere], architecture="arm64")
    annotations = {f"{PREFIX}description": "Everywhere", f"{PREFIX}licenses": "MIT"}
    layout.add_index("all", [one.manifest, windows.manifest], annotations=annotations)
    skopeo.log_in(town.host, town.owner)
    skopeo.push_layout(layout.folder, "all", f"{town.host}/acme/{name}:all", "--all")
    package = town.ask("GET", f"/orgs/acme/packages/container/{name}").json()
    assert (package["description"], package["license"]) == ("Everywhere", "MIT")
    assert package["version_count"] == 3


@pytest.mark.needs("curl", "skopeo")
def test_the_walk_through_of_the_readme(town: Town, image: Image, tmp_path: Path) -> None:
    """Line by line as a reader would type it, but for the address, the token and the image."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    (walk,) = [block for block in blocks if "HOST=127.0.0.1:5000 TOKEN=" in block]
    assert town.daemon.first_token is not None
    walk = walk.replace("127.0.0.1:5000", town.host)
    walk = walk.replace("blobd_pat_…", town.daemon.first_token)
    walk = walk.replace("docker://alpine", f"oci:{image.layout.folder}:{image.tag}")
    said = Home(tmp_path).run(
        "sh", "-e", "-c", walk.replace("skopeo ", "skopeo --insecure-policy ")
    )
    assert "private: log in first" in said
    assert said.count('"Digest"') == 3
    assert '"visibility": "public"' in said
