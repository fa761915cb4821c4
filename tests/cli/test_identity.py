"""Accounts, teams, source repositories and tokens: made by an operator, used at a login."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.cli.processes import Operator
from tests.daemon import Daemon
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    data = tmp_path_factory.mktemp("identity") / "data"
    settings = {"registry.auth": "true", "store.durability": "none"}
    with Daemon(data, settings=settings) as running:
        yield running


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


def test_changes_of_accounts_say_what_they_did(operator: Operator) -> None:
    for words, said in (
        (("user", "add", "tell"), "made the user tell"),
        (("user", "disable", "tell"), "disabled tell"),
        (("user", "enable", "tell"), "enabled tell"),
        (("org", "add", "guild", "--owner", "tell"), "made the organisation guild, owned by tell"),
        (("org", "set", "guild", "admin"), "admin belongs to guild, as member"),
        (("org", "inherit", "guild", "off"), "new packages of guild do not inherit"),
        (("team", "add", "guild/all"), "made the team guild/all"),
        (("team", "join", "guild/all", "admin"), "admin is in guild/all"),
        (("team", "leave", "guild/all", "admin"), "admin is not in guild/all"),
        (("team", "rm", "guild/all"), "removed the team guild/all"),
        (("org", "rm", "guild", "admin"), "admin no longer belongs to guild"),
    ):
        assert operator.do(*words).startswith(said)


def test_changes_of_source_repositories_say_what_they_did(operator: Operator) -> None:
    for words, said in (
        (("repo", "add", "admin/tool"), "named the private source repository admin/tool"),
        (("repo", "visibility", "admin/tool", "public"), "admin/tool is public"),
        (("repo", "set", "admin/tool", "--writers-link"), "admin/tool: writers_link=True"),
        (("repo", "grant", "admin/tool", "admin", "read"), "admin has the role read"),
        (("repo", "grant", "admin/tool", "admin", "none"), "admin has no role"),
        (("repo", "rm", "admin/tool"), "forgot the source repository admin/tool"),
    ):
        assert operator.do(*words).startswith(said)


def test_changes_of_secrets_say_what_they_did_beside_what_scripts_read(operator: Operator) -> None:
    run = operator.run("token", "create", "--user", "admin", "--scope", "read:packages")
    assert run.stdout.startswith(b"blobd_pat_")
    assert len(run.stdout.splitlines()) == 1
    assert b" for admin: read:packages, until " in run.stderr
    token_id = run.stderr.split()[1].decode()
    assert operator.do("token", "revoke", token_id).startswith(f"revoked {token_id}")
    run = operator.run("key", "rotate")
    assert len(run.stdout.split()) == 1
    assert b"signs within a minute" in run.stderr
