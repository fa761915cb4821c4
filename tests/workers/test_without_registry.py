"""Delete `blobd/registry/`, and blobs are still served (`docs/architecture.md`, The floors)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import blobd
from tests.api.served import Served, digest_of, some_bytes, until
from tests.daemon import Daemon
from tests.engines.every import needs_postgres
from tests.engines.moto import Moto
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.engines.every import Engines

PLACES = (
    pytest.param(("filesystem", "sqlite"), id="filesystem-sqlite"),
    pytest.param(("filesystem", "postgresql"), id="filesystem-postgresql", marks=needs_postgres),
    pytest.param(("s3", "sqlite"), id="s3-sqlite"),
    pytest.param(("s3", "postgresql"), id="s3-postgresql", marks=needs_postgres),
)
_REGISTRYS_OWN = ("blobd.registry", "jwt", "jinja2", "rich")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a blobd of which `registry/` was deleted."""
    folder = tmp_path_factory.mktemp("package")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(blobd.__file__).parent, folder / "blobd", ignore=ignored)
    shutil.rmtree(folder / "blobd" / "registry")
    found = subprocess.run(
        [sys.executable, "-c", "import blobd; print(*blobd.__path__)\nimport blobd.registry"],
        env=_environment(folder),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == str(folder / "blobd")
    assert "ModuleNotFoundError: No module named 'blobd.registry'" in found.stderr
    return folder


@pytest.fixture(params=PLACES)
def settings(request: pytest.FixtureRequest, engines: Engines) -> Iterator[Mapping[str, str]]:
    """Where a store and its catalog are."""
    store, database = request.param
    chosen = {"upkeep.sweep_interval_s": "0"}  # moto says that every multipart upload is very old
    if database == "postgresql":
        chosen["catalog.url"] = request.getfixturevalue("database")
    if store == "filesystem":
        yield chosen
        return
    bucket = engines.get(Moto).make_bucket()
    yield {**chosen, **bucket.settings(), "s3.redirect": "false"}
    bucket.clear()


def run_blobd(package: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a package to its end."""
    return subprocess.run(
        [sys.executable, "-m", "blobd", *map(str, arguments)],
        env=_environment(package),
        cwd=package,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_blobs_are_served_without_the_registry(
    package: Path, settings: Mapping[str, str], workers: int, tmp_path: Path
) -> None:
    """Push, pull, delete, collect, restart; and what repositories link stays, for their return."""
    linked, unlinked, both, ours, new = (some_bytes(70_000) for _ in range(5))
    whole = {**settings, "upkeep.gc_interval_s": "0"}
    with Daemon(tmp_path / "data", settings=whole) as daemon:
        registry, served = Registry(daemon.registry), Served(daemon)
        for name in ("team/app", "team/other"):
            registry.push(name, linked)
        for name, data in (("team/other", linked), ("team/app", unlinked)):
            registry.push(name, data)
            assert registry.delete(f"/v2/{name}/blobs/{digest_of(data)}").status == 202
        registry.push("team/app", both)
        served.store(both)
        served.store(ours)

    cut = {**settings, "upkeep.gc_interval_s": "0.2", "server.workers": str(workers)}
    with Daemon(tmp_path / "data", settings=cut, listen="", package=package) as daemon:
        served = Served(daemon)
        assert all(map(served.holds, (linked, both, ours)))
        until(lambda: not served.holds(unlinked), "what nothing names is collected")
        assert served.store(new) == f"/blobs/{digest_of(new)}"
        upload = served.start()
        assert served.ask("PATCH", upload, body=new[:30_000]).status == 202
        for data in (both, ours):
            assert served.ask("DELETE", f"/blobs/{digest_of(data)}").status == 202
        until(lambda: not served.holds(ours), "no worker believes in what it found before")
        daemon.restart()
        assert served.offset(upload) == 30_000
        assert all(map(served.holds, (linked, both, new)))

    given = (*(f"--set={name}={value}" for name, value in cut.items()), "--set=registry.listen=")
    said = run_blobd(
        package, "gc", "--dry-run", "--all", "--json", f"--data={tmp_path / 'data'}", *given
    )
    assert said.returncode == 0, said.stderr
    reasons = {each["digest"]: each["reasons"] for each in json.loads(said.stdout)}
    assert reasons == {
        digest_of(linked): ["named in the table links of another front"],
        digest_of(both): ["named in the table links of another front"],
        digest_of(new): ["held by the blob API"],
    }

    with Daemon(tmp_path / "data", settings=whole) as daemon:
        registry = Registry(daemon.registry)
        for data in (linked, both):
            assert registry.get(f"/v2/team/app/blobs/{digest_of(data)}").body == data
        assert registry.head(f"/v2/team/app/blobs/{digest_of(unlinked)}").status == 404


@pytest.mark.parametrize("workers", [1, 2])
def test_a_daemon_that_serves_no_registry_imports_nothing_of_it(
    workers: int, tmp_path: Path
) -> None:
    """Neither the supervisor nor a worker; but for alembic, where tables are to be made."""
    settings = {"server.workers": str(workers)}
    environment = {"PYTHONPROFILEIMPORTTIME": "1"}
    logs = []
    for listen in ("", "", "127.0.0.1:0"):
        with Daemon(
            tmp_path / "data", settings=settings, listen=listen, environment=environment
        ) as daemon:
            served = Served(daemon)
            data = some_bytes(1000)
            assert served.ask("DELETE", served.store(data)).status == 202
            served.store(data)
        logs.append(_imported(daemon.stderr))
    first, second, registrys = logs
    assert "sqlalchemy" in first
    assert "alembic" in first
    assert _registrys_own(first) == set()
    assert "sqlalchemy" in second
    assert "alembic" not in second
    assert _registrys_own(second) == set()
    assert "blobd.registry.service" in registrys, "else this test sees nothing"


def test_what_the_registry_is_needed_for_says_so_in_one_line(package: Path, tmp_path: Path) -> None:
    """With the setting to change; no traceback."""
    data = f"--data={tmp_path / 'data'}"
    with Daemon(tmp_path / "data", listen="", package=package):
        pass
    serve = run_blobd(package, "serve", data)
    assert (serve.returncode, serve.stdout) == (2, "")
    assert serve.stderr == (
        "blobd: registry.listen = '127.0.0.1:5000': this blobd was installed without the "
        "registry; set registry.listen to ''\n"
    )
    users = run_blobd(package, "user", "ls", data, "--set=registry.listen=")
    assert (users.returncode, users.stdout) == (1, "")
    assert users.stderr == "blobd: this blobd was installed without the registry\n"
    used = run_blobd(package, "du", "--json", data, "--set=registry.listen=")
    assert json.loads(used.stdout)["holds"] == 0, used.stderr


def _environment(package: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLOBD_")}
    return kept | {"PYTHONPATH": str(package)}


def _imported(log: str) -> set[str]:
    """Return the modules that a daemon's processes have imported, as `-X importtime` lists them."""
    lines = (line for line in log.splitlines() if line.startswith("import time:"))
    return {line.rpartition("|")[2].strip() for line in lines}


def _registrys_own(modules: set[str]) -> set[str]:
    return {
        module
        for module in modules
        for own in _REGISTRYS_OWN
        if module == own or module.startswith(f"{own}.")
    }
