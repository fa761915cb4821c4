"""Accounts, teams, source repositories and tokens: made by an operator, used at a login."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.processes import run_blobd
from tests.daemon import Daemon
from tests.registry.protocol import Registry, digest_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    data = tmp_path_factory.mktemp("identity") / "data"
    settings = {"registry.auth": "true", "store.durability": "none"}
    with Daemon(data, settings=settings) as running:
        yield running


class Operator:
    """Runs commands beside a daemon."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return run_blobd(*words, "--data", self._data)

    def do(self, *words: str) -> str:
        run = self.run(*words)
        assert run.returncode == 0, run.stderr.decode()
        return run.stdout.decode()

    def json(self, *words: str) -> Any:
        return json.loads(self.do(*words, "--json"))

    def refused(self, *words: str) -> str:
        """Return the one line with which a command failed."""
        run = self.run(*words)
        assert run.returncode == 1, run.stderr.decode()
        (line,) = run.stderr.decode().splitlines()
        return line


@pytest.fixture
def operator(daemon: Daemon) -> Operator:
    return Operator(daemon.data)


def status(daemon: Daemon, secret: str) -> int:
    """Return what a login with a token is answered."""
    shown = base64.b64encode(f"x:{secret}".encode()).decode()
    return Registry(daemon.registry).get("/v2/", Authorization=f"Basic {shown}").status


def test_a_token_lets_in_until_it_is_revoked(daemon: Daemon, operator: Operator) -> None:
    operator.do("user", "add", "ann")
    secret = operator.do(
        *("token", "create", "--user", "ann", "--scope", "read:packages"),
        *("--scope", "write:packages", "--expires", "30d", "--note", "laptop"),
    ).strip()
    assert secret.startswith("blobd_pat_")
    assert status(daemon, secret) == 200
    (listed,) = operator.json("token", "ls", "--user", "ann")
    assert listed["scopes"] == "read:packages write:packages"
    assert listed["note"] == "laptop"
    assert secret.startswith(listed["token"].rstrip("…"))
    assert secret not in operator.do("token", "ls", "--user", "ann")
    operator.do("token", "revoke", listed["id"])
    assert status(daemon, secret) == 401
    assert operator.json("token", "ls", "--user", "ann")[0]["state"] == "revoked"
    assert "token nonsense is not known" in operator.refused("token", "revoke", "nonsense")


def test_a_disabled_user_is_out_until_enabled(daemon: Daemon, operator: Operator) -> None:
    operator.do("user", "add", "dan")
    made = operator.json("token", "create", "--user", "dan", "--scope", "read:packages")
    operator.do("user", "disable", "dan")
    assert status(daemon, made["token"]) == 401
    operator.do("user", "enable", "dan")
    assert status(daemon, made["token"]) == 200
    assert "last administrator" in operator.refused("user", "disable", "admin")
    operator.do("user", "add", "second", "--admin")
    operator.do("user", "disable", "admin")
    operator.do("user", "enable", "admin")


def test_names_are_parts_of_repositories_and_taken_once(operator: Operator) -> None:
    for name in ("Än", "a/b", "", "a-", "a" * 101, "a\nb", "@deleted"):
        assert "cannot be a name here" in operator.refused("user", "add", name)
    operator.do("user", "add", "taken")
    assert "taken" in operator.refused("user", "add", "taken")
    assert "taken" in operator.refused("user", "add", "Taken")
    assert "taken" in operator.refused("org", "add", "taken", "--owner", "taken")


def test_an_organisation_keeps_an_owner(operator: Operator) -> None:
    for name in ("olga", "mike"):
        operator.do("user", "add", name)
    operator.do("org", "add", "works", "--owner", "olga")
    operator.do("org", "set", "works", "mike")
    members = operator.json("org", "members", "works")
    assert members == [{"user": "mike", "role": "member"}, {"user": "olga", "role": "owner"}]
    assert "last owner" in operator.refused("org", "rm", "works", "olga")
    assert "last owner" in operator.refused("org", "set", "works", "olga", "--role", "member")
    operator.do("org", "set", "works", "mike", "--role", "owner")
    operator.do("org", "rm", "works", "olga")
    assert operator.json("org", "members", "works") == [{"user": "mike", "role": "owner"}]
    assert "works" in {each["name"] for each in operator.json("org", "ls")}
    assert "organisation olga is not known" in operator.refused("org", "members", "olga")


def test_teams_are_of_members(operator: Operator) -> None:
    for name in ("tom", "una"):
        operator.do("user", "add", name)
    operator.do("org", "add", "club", "--owner", "tom")
    operator.do("team", "add", "club/core")
    operator.do("team", "join", "club/core", "tom")
    assert "no member of club" in operator.refused("team", "join", "club/core", "una")
    operator.do("org", "set", "club", "una")
    operator.do("team", "join", "club/core", "una")
    assert [each["user"] for each in operator.json("team", "members", "club/core")] == [
        "tom",
        "una",
    ]
    operator.do("org", "rm", "club", "una")
    assert [each["user"] for each in operator.json("team", "members", "club/core")] == ["tom"]
    operator.do("team", "leave", "club/core", "tom")
    assert operator.json("team", "ls", "club") == [{"team": "core"}]
    operator.do("team", "rm", "club/core")
    assert operator.json("team", "ls", "club") == []


def test_source_repositories_have_roles(operator: Operator) -> None:
    operator.do("user", "add", "rea")
    operator.do("org", "add", "lab", "--owner", "rea")
    operator.do("team", "add", "lab/all")
    operator.do("repo", "add", "lab/code", "--visibility", "internal")
    operator.do("repo", "grant", "lab/code", "rea", "write")
    operator.do("repo", "grant", "lab/code", "lab/all", "read")
    assert operator.json("repo", "roles", "lab/code") == [
        {"kind": "team", "name": "lab/all", "role": "read"},
        {"kind": "user", "name": "rea", "role": "write"},
    ]
    operator.do("repo", "grant", "lab/code", "rea", "none")
    operator.do("team", "rm", "lab/all")
    assert operator.json("repo", "roles", "lab/code") == []
    operator.do("repo", "visibility", "lab/code", "public")
    operator.do("repo", "set", "lab/code", "--writers-link", "--host", "github.com")
    (shown,) = operator.json("repo", "ls", "--owner", "lab")
    assert (shown["host"], shown["labels_of"]) == ("github.com", "writers")
    operator.do("repo", "set", "lab/code", "--admins-link", "--host", "")
    assert operator.json("repo", "ls", "--owner", "lab") == [
        {"repository": "lab/code", "visibility": "public", "host": "", "labels_of": "admins"}
    ]
    operator.do("repo", "rm", "lab/code")
    assert operator.json("repo", "ls", "--owner", "lab") == []


def test_what_was_signed_before_a_rotation_still_counts(daemon: Daemon, operator: Operator) -> None:
    made = operator.json("token", "create", "--user", "admin", "--scope", "read:packages")
    registry = Registry(daemon.registry)
    shown = base64.b64encode(f"x:{made['token']}".encode()).decode()
    bearer = registry.get("/token", Authorization=f"Basic {shown}").json()["token"]
    before = operator.json("key", "ls")
    operator.do("key", "rotate")
    after = operator.json("key", "ls")
    assert [key["key"] for key in after[1:]] == [key["key"] for key in before]
    assert registry.get("/v2/", Authorization=f"Bearer {bearer}").status == 200
    daemon.restart()
    assert registry.get("/v2/", Authorization=f"Bearer {bearer}").status == 200


@pytest.mark.parametrize("lifetime", ["0d", "soon", "-1d", "5", "1w", "9" * 5000 + "d"])
def test_a_lifetime_that_is_none_is_a_usage_error(operator: Operator, lifetime: str) -> None:
    words = ("token", "create", "--user", "admin", "--scope", "read:packages")
    run = operator.run(*words, f"--expires={lifetime}")
    assert run.returncode == 2
    assert b"is not a lifetime" in run.stderr


def test_what_cannot_be_is_one_line(operator: Operator) -> None:
    words = ("token", "create", "--user", "admin", "--scope", "read:packages")
    assert "within ten years" in operator.refused(*words, "--expires", "99999999d")
    assert "control characters" in operator.refused(*words, "--note", "\x1b[2J")
    assert "control characters" in operator.refused(*words, "--note", "\udcff")
    assert "is not known" in operator.refused("user", "disable", "\udcff")
    assert "is not known" in operator.refused("token", "revoke", "\udcff")


def test_what_an_operator_does_is_in_the_audit(daemon: Daemon, operator: Operator) -> None:
    operator.do("user", "add", "noted")
    made = operator.json("token", "create", "--user", "noted", "--scope", "read:packages")
    operator.do("token", "revoke", made["id"])
    shown = {"Authorization": f"Bearer {daemon.first_token}"}
    answer = Registry(daemon.registry).send("GET", "/api/audit?actor=", headers=shown)
    said = [entry["detail"] for entry in answer.json()[:3]]
    assert said == [
        f"token revoke {made['id']}",
        "token create noted read:packages",
        "user add noted",
    ]
    assert made["token"] not in answer.body.decode()


def test_settings_of_a_package_are_shown_and_changed(daemon: Daemon, operator: Operator) -> None:
    """Beside the running daemon; what is not named stays, and the audit has it."""
    assert daemon.first_token is not None
    basic = base64.b64encode(f"x:{daemon.first_token}".encode()).decode()
    registry = Registry(daemon.registry)
    operator.do("org", "add", "shop", "--owner", "admin")
    path = "/v2/shop/app/blobs/uploads/?digest=" + digest_of(b"bytes")
    octets = {"Authorization": f"Basic {basic}", "Content-Type": "application/octet-stream"}
    assert registry.send("POST", path, b"bytes", octets).status == 201
    shown = {
        "visibility": "private",
        "immutable_tags": "no",
        "sparse_indexes": "no",
        "repository": "",
    }
    assert operator.json("package", "show", "shop/app") == [shown]
    operator.do("package", "set", "shop/app", "--sparse-indexes")
    operator.do("package", "set", "shop/app", "--immutable-tags")
    changed = {"immutable_tags": "yes", "sparse_indexes": "yes"}
    assert operator.json("package", "show", "shop/app") == [shown | changed]
    operator.do("package", "set", "shop/app", "--whole-indexes", "--mutable-tags")
    assert operator.json("package", "show", "shop/app") == [shown]
    assert operator.run("package", "set", "shop/app").returncode == 2
    assert "shop/none" in operator.refused("package", "set", "shop/none", "--sparse-indexes")
