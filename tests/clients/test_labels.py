"""Docker against labels that used to give rights away: six scenarios, on either database."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.cli.processes import run_blobd
from tests.clients.commands import CommandFailed
from tests.clients.docker import open_docker
from tests.clients.everyone import needs_docker, opened
from tests.daemon import Daemon
from tests.engines.every import needs_postgres
from tests.registry.protocol import Answer, Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clients.docker import Docker

pytestmark = needs_docker
PEOPLE = ("olga", "mike", "eve")
LABEL = "org.opencontainers.image.source"


@dataclass(frozen=True, slots=True)
class Place:
    """A closed registry where olga owns acme, mike is a member and eve a stranger; and docker."""

    host: str
    tokens: dict[str, str]
    docker: Docker
    folder: Path

    def ask(self, who: str, method: str, path: str, status: int, **body: Any) -> Any:
        """Call the API as somebody; return what it answers."""
        shown = {"Authorization": f"Bearer {self.tokens[who]}", "Content-Type": "application/json"}
        content = json.dumps(body).encode() if body else None
        answer: Answer = Registry(self.host).send(method, f"/api{path}", content, shown)
        assert answer.status == status, (path, answer.status, answer.body)
        return answer.json() if answer.body else None

    def build(self, *lines: str) -> str:
        """Build an image; return its id."""
        context = self.folder / secrets.token_hex(4)
        context.mkdir()
        (context / "Dockerfile").write_text("\n".join(lines), encoding="utf-8")
        (context / "file").write_text(context.name, encoding="utf-8")
        return self.docker.run("build", "--quiet", context).splitlines()[-1]

    def labelled(self, full_name: str, host: str | None = None) -> str:
        """Build an image of nothing but a file, with a label; return its id."""
        label = f'LABEL {LABEL}="http://{host or self.host}/{full_name}"'
        return self.build("FROM scratch", "COPY file /", label)

    def push(self, secret: str, image_id: str, name: str) -> str:
        """Push as who has a token; return the reference."""
        self.docker.log_in(self.host, secret)
        reference = f"{self.host}/{name}"
        self.docker.run("tag", image_id, reference)
        self.docker.run("push", "--quiet", reference)
        return reference

    def is_refused(self, secret: str, image_id: str, name: str) -> bool:
        """Return whether docker can neither pull nor push with a token."""
        self.docker.log_in(self.host, secret)
        for words in (("pull", "--quiet"), ("push", "--quiet")):
            self.docker.run("tag", image_id, f"{self.host}/{name}")
            try:
                self.docker.run(*words, f"{self.host}/{name}")
            except CommandFailed:
                continue
            return False
        return True

    def workflow(self, who: str, full_name: str) -> str:
        made = self.ask(who, "POST", f"/repos/{full_name}/tokens", 201, kind="automation")
        return str(made["token"])

    def assert_closed(self, name: str, stranger: str, full_name: str, image_id: str) -> None:
        """A package of acme is private and unlinked, and shut to a stranger and its workflows."""
        path = package(name)
        access = self.ask("olga", "GET", f"{path}/access", 200)
        assert (access["visibility"], access["inherits"]) == ("private", False)
        assert (access["repository"], access["workflows"]) == (None, [])
        for secret in (self.tokens[stranger], self.workflow(stranger, full_name)):
            assert self.is_refused(secret, image_id, name)
        self.ask(stranger, "DELETE", path, 404)


def package(name: str) -> str:
    owner, _, image = name.partition("/")
    return f"/orgs/{owner}/packages/container/{quote(image.partition(':')[0], safe='')}"


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("labels")
    settings = {"registry.auth": "true", "registry.trash_retention_s": "86400"}
    if request.param == "postgresql":
        settings["catalog.url"] = request.getfixturevalue("postgres").create_database()
    options = ["--data", str(folder / "data")]
    options += [f"--set={name}={value}" for name, value in settings.items()]

    def blobd(*words: str) -> str:
        run = run_blobd(*words, *options)
        assert run.returncode == 0, run.stderr
        return run.stdout.decode().strip()

    with Daemon(folder / "data", settings=settings) as daemon, opened(open_docker) as docker:
        for name in PEOPLE:
            blobd("user", "add", name)
        blobd("org", "add", "acme", "--owner", "olga")
        blobd("org", "set", "acme", "mike")
        scopes = [f"--scope={scope}:packages" for scope in ("read", "write", "delete")]
        tokens = {name: blobd("token", "create", "--user", name, *scopes) for name in PEOPLE}
        yield Place(daemon.registry, tokens, docker, folder)


@pytest.fixture
def name() -> str:
    return f"n{secrets.token_hex(4)}"


def test_a_base_image_takes_over_no_first_publish(place: Place, name: str) -> None:
    place.ask("eve", "POST", "/repos/eve", 204, name=name, visibility="public")
    base = place.push(place.tokens["eve"], place.labelled(f"eve/{name}"), f"eve/{name}:1")
    place.ask("eve", "PATCH", f"/users/eve/packages/container/{name}", 200, visibility="public")
    built = place.build(f"FROM {base}", "COPY file /mine")
    place.push(place.tokens["olga"], built, f"acme/{name}:1")
    place.assert_closed(f"acme/{name}:1", "eve", f"eve/{name}", built)


def test_a_later_label_takes_over_no_private_package(place: Place, name: str) -> None:
    place.ask("eve", "POST", "/repos/eve", 204, name=name, visibility="public")
    olga = place.tokens["olga"]
    place.push(olga, place.build("FROM scratch", "COPY file /"), f"acme/{name}:1")
    labelled = place.labelled(f"eve/{name}")
    place.push(olga, labelled, f"acme/{name}:2")
    place.assert_closed(f"acme/{name}:1", "eve", f"eve/{name}", labelled)


def test_a_writer_leaves_no_back_door(place: Place, name: str) -> None:
    place.ask("eve", "POST", "/repos/eve", 204, name=name, visibility="private")
    plain = place.build("FROM scratch", "COPY file /")
    place.push(place.tokens["olga"], plain, f"acme/{name}:1")
    role = f"{package(f'acme/{name}')}/access/roles/eve"
    place.ask("olga", "PUT", role, 204, role="write")
    place.push(place.tokens["eve"], place.labelled(f"eve/{name}"), f"acme/{name}:2")
    place.ask("olga", "DELETE", role, 204)
    # what was allowed is remembered for a second, less than building takes
    other = place.build("FROM scratch", "COPY file /other")
    place.assert_closed(f"acme/{name}:1", "eve", f"eve/{name}", other)


def test_a_label_of_another_host_links_nothing(place: Place, name: str) -> None:
    place.ask("olga", "POST", "/repos/acme", 204, name=name, visibility="public")
    elsewhere = place.labelled(f"acme/{name}", "git.elsewhere.example")
    place.push(place.tokens["olga"], elsewhere, f"acme/{name}:1")
    access = place.ask("olga", "GET", f"{package(f'acme/{name}')}/access", 200)
    assert (access["visibility"], access["repository"]) == ("private", None)
    refused: list[str] = []
    for _ in range(100):  # the audit is written every few seconds
        entries = place.ask("olga", "GET", f"/audit?package=acme/{name}", 200)
        refused = [entry["detail"] for entry in entries if entry["action"] == "link refused"]
        if refused:
            break
        time.sleep(0.1)
    assert "registry.source_hosts" in refused[0]


def test_a_member_who_reads_is_not_locked_out_of_what_he_makes(place: Place, name: str) -> None:
    place.ask("olga", "POST", "/repos/acme", 204, name=name, visibility="private")
    place.ask("olga", "PUT", f"/repos/acme/{name}/roles/mike", 204, role="read")
    mike, labelled = place.tokens["mike"], place.labelled(f"acme/{name}")
    for tag in ("1", "2"):
        place.push(mike, labelled, f"acme/{name}:{tag}")
    roles = place.ask("mike", "GET", f"{package(f'acme/{name}')}/access", 200)["roles"]
    assert [(one["name"], one["role"]) for one in roles] == [("mike", "admin")]


def test_a_later_link_by_hand_lets_no_workflow_in(place: Place, name: str) -> None:
    place.ask("olga", "POST", "/repos/acme", 204, name=name, visibility="private")
    plain = place.build("FROM scratch", "COPY file /")
    place.push(place.tokens["olga"], plain, f"acme/{name}:1")
    path, automation = package(f"acme/{name}"), place.workflow("olga", f"acme/{name}")
    place.ask("olga", "PUT", f"{path}/repository", 204, repository=f"acme/{name}")
    assert place.is_refused(automation, plain, f"acme/{name}:1")
    assert place.ask("olga", "GET", f"{path}/access", 200)["workflows"] == []
    place.ask("olga", "PUT", f"{path}/access/mode", 200, inherits=True)
    place.push(automation, place.build("FROM scratch", "COPY file /new"), f"acme/{name}:2")
    shown = place.ask("olga", "GET", f"{path}/access", 200)["workflows"]
    assert [(one["kind"], one["role"]) for one in shown] == [
        ("automation", "admin"),
        ("environment", "read"),
    ]
