"""Settings on the command line: what is in force, where it came from, and what is refused."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from blobd import __version__
from blobd.config import settings
from tests.cli.processes import run_blobd, running

if TYPE_CHECKING:
    from pathlib import Path


def test_the_version_is_the_packages() -> None:
    """`blobd --version` is what an operator quotes in a report."""
    assert run_blobd("--version").stdout.decode() == f"blobd {__version__}\n"


def test_serve_explains_itself() -> None:
    """Where it listens, where settings come from, and an example to copy."""
    told = run_blobd("serve", "--help").stdout.decode()
    for word in ("127.0.0.1:5000", "127.0.0.1:5080", "./blobd-data", "BLOBD_<SECTION>__<NAME>"):
        assert word in told
    assert "blobd serve --config" in told


def test_every_setting_is_shown_with_its_origin(tmp_path: Path) -> None:
    """Flags override the environment, which overrides the file, which overrides the default."""
    file = tmp_path / "blobd.toml"
    file.write_text("[limits]\nmax_uploads = 7\nidle_timeout_s = 8\nhead_timeout_s = 9\n")
    run = run_blobd(
        "check-config",
        "--json",
        "--config",
        file,
        "--set",
        "limits.head_timeout_s=11",
        "--data",
        "/srv/blobd",
        BLOBD_LIMITS__HEAD_TIMEOUT_S="10",
        BLOBD_LIMITS__IDLE_TIMEOUT_S="20",
    )
    shown = json.loads(run.stdout)
    assert list(shown) == [setting.key for setting in settings()]
    told = {key: (entry["value"], entry["origin"]) for key, entry in shown.items()}
    assert told["limits.max_uploads"] == (7, str(file))
    assert told["limits.idle_timeout_s"] == (20, "environment, BLOBD_LIMITS__IDLE_TIMEOUT_S")
    assert told["limits.head_timeout_s"] == (11, "command line")
    assert told["store.path"] == ("/srv/blobd", "command line")
    assert told["log.level"] == ("info", "default")


def test_the_table_for_people_names_every_setting() -> None:
    """Nothing is cut where the output is not a terminal."""
    told = run_blobd("check-config").stdout.decode()
    for setting in settings():
        assert setting.key in told
        assert setting.reason in told


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_secrets_are_not_shown(form: tuple[str, ...]) -> None:
    """Whoever reads the output learns that a token is set, and not which."""
    run = run_blobd("check-config", *form, BLOBD_BLOB_API__TOKENS="open-sesame")
    assert b"open-sesame" not in run.stdout + run.stderr
    assert b"(hidden)" in run.stdout


def test_a_setting_of_an_earlier_version_is_one_line_on_standard_error() -> None:
    """check-config goes on with what took its place."""
    run = run_blobd("check-config", "--json", "--set", "s3.retries=5")
    assert run.returncode == 0
    assert run.stderr == (
        b"blobd: warning: s3.retries (command line) has no effect: "
        b"s3.retry_budget_s took its place\n"
    )
    assert b"s3.retry_budget_s" in run.stdout


@pytest.mark.parametrize("command", ["serve", "check-config"])
@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("limits.max_uploads=0", "limits.max_uploads = '0' (command line): must be a whole number"),
        ("store.backend=tape", "store.backend = 'tape' (command line): must be one of filesystem"),
        ("limits.max_blob=1", "limits.max_blob (command line) is not a setting"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_2(command: str, pair: str, told: str) -> None:
    """The line names the setting, its value, where it came from and what is allowed."""
    run = run_blobd(command, "--set", pair)
    assert run.returncode == 2
    assert run.stdout == b""
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith(f"blobd: {told}")


def test_a_file_that_is_no_toml_is_told_by_name(tmp_path: Path) -> None:
    """One line, exit code 2."""
    file = tmp_path / "blobd.toml"
    file.write_text("[limits\n")
    run = run_blobd("serve", "--config", file)
    assert run.returncode == 2
    assert str(file).encode() in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--listen", "0.0.0.0:0", "--blob-api", "", "--no-auth"), "registry.listen"),
        (("--listen", "", "--blob-api", "0.0.0.0:0"), "blob_api.listen"),
        (("--listen", "", "--blob-api", "nowhere"), "blob_api.listen"),
        (("--listen", "", "--blob-api", ""), "registry.listen"),
        (("--set", "registry.public_url=example.org"), "registry.public_url"),
        (("--set", "registry.public_url=https://example.org/path"), "registry.public_url"),
        (("--set", "registry.trusted_proxies=10.0.0.1/8"), "registry.trusted_proxies"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "check-config"])
def test_nothing_is_exposed_by_mistake(
    tmp_path: Path, command: str, arguments: tuple[str, ...], named: str
) -> None:
    """Beyond loopback only with identities or tokens; said in one line, exit code 2."""
    run = run_blobd(command, "--data", tmp_path / "data", *arguments)
    assert run.returncode == 2
    (line,) = run.stderr.decode().splitlines()
    assert line.startswith(f"blobd: {named}")


def test_a_pair_without_a_value_is_a_usage_error() -> None:
    """`--set` names its form."""
    run = run_blobd("check-config", "--set", "limits.max_uploads")
    assert run.returncode == 2
    assert b"SECTION.NAME=VALUE" in run.stderr


def test_serve_prints_where_it_listens_and_ends_well_on_sigterm(tmp_path: Path) -> None:
    """On a unix socket as on any address: exit code 0."""
    address = f"unix:{tmp_path / 'blobd.sock'}"
    front = ("--listen", "127.0.0.1:0", "--blob-api", address)
    with running("serve", "--data", tmp_path / "data", *front) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().decode() for _ in range(9)]
        assert any(address in line for line in told), told
        assert any("docker push 127.0.0.1:" in line for line in told), told
        assert any("docker login 127.0.0.1:" in line for line in told), told
        assert any("skopeo copy" in line for line in told), told
        assert any(line.startswith("token     blobd_pat_") for line in told), told
        pushed = run_blobd("push", "-", "--server", address, input_bytes=b"x" * 100_000)
        assert pushed.returncode == 0, pushed.stderr.decode()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
    with running("serve", "--data", tmp_path / "data", *front) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().decode() for _ in range(7)]
        assert any("docker login 127.0.0.1:" in line for line in told), "a later start says so too"
        assert not any("/demo/image" in line for line in told), "nobody may push to demo"
