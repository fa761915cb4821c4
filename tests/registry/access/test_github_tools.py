"""GitHub's own tools: Octokit over plain HTTP, and `gh` over TLS behind the shipped nginx."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.daemon import which
from tests.deploy.nginx import running_nginx
from tests.deploy.proxies import DEPLOY, UPSTREAM
from tests.registry.access.npm import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.access.conftest import Town

_OCTOKIT = "@octokit/rest@22.0.1"
_WITHIN_S = 120
_SCRIPT = """
import { Octokit } from "@octokit/rest";

const [baseUrl, auth, packageName] = process.argv.slice(2);
const { packages, users, orgs } = new Octokit({ baseUrl, auth }).rest;
const of = { org: "acme", package_type: "container", package_name: packageName };
const versions = (await packages.getAllPackageVersionsForPackageOwnedByOrg(of)).data;
const first = { ...of, package_version_id: versions.at(-1).id };
await packages.deletePackageVersionForOrg(first);
const left = (await packages.getAllPackageVersionsForPackageOwnedByOrg(of)).data;
await packages.restorePackageVersionForOrg(first);
const refused = await packages
  .getPackageForOrganization({ ...of, package_name: "none" })
  .catch((error) => ({ status: error.status, message: error.message }));
console.log(JSON.stringify({
  login: (await users.getAuthenticated()).data.login,
  organisation: (await orgs.get({ org: "acme" })).data.login,
  name: (await packages.getPackageForOrganization(of)).data.name,
  versions: versions.length,
  left: left.length,
  refused,
}));
"""


@pytest.fixture(scope="module")
def octokit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script that uses Octokit, in a folder where it is installed."""
    place: Path = tmp_path_factory.mktemp("octokit")
    install(_OCTOKIT, place)
    script = place / "tool.mjs"
    script.write_text(_SCRIPT)
    return script


def _pushed(town: Town, app: str) -> str:
    """Push two versions; return the package's name within its organisation."""
    for number in range(2):
        town.person("ada").push_image(app, f"v{number}", text=f"{app} {number}")
    return app.partition("/")[2]


@pytest.mark.needs("npm")
@pytest.mark.parametrize("root", ["api", "api/v3"])
def test_octokit_reads_deletes_restores_and_shows_errors(
    town: Town, app: str, octokit: Path, root: str
) -> None:
    name = _pushed(town, app)
    node = which("node")
    assert node is not None
    run = subprocess.run(
        [node, octokit, f"http://{town.address}/{root}", "blobd_pat_ada", name],
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
    )
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout)
    assert (said["login"], said["organisation"], said["name"]) == ("ada", "acme", name)
    assert (said["versions"], said["left"]) == (2, 1)
    assert said["refused"]["status"] == 404
    assert "package acme/none is not known here" in said["refused"]["message"]


class _Gh:
    """`gh` with a host, a token and a home of its own."""

    def __init__(self, folder: Path, host: str, certificate: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "GH_HOST": host,
            "GH_ENTERPRISE_TOKEN": "blobd_pat_ada",
            "GH_NO_UPDATE_NOTIFIER": "1",
            "SSL_CERT_FILE": str(certificate),
        }

    def api(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["gh", "api", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_WITHIN_S,
        )

    def json(self, *arguments: str) -> Any:
        run = self.api(*arguments)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)


@pytest.fixture
def gh(town: Town, tmp_path: Path) -> Iterator[_Gh]:
    with running_nginx(
        DEPLOY / "nginx.conf", tmp_path / "nginx", {UPSTREAM: town.address}
    ) as front:
        yield _Gh(tmp_path, f"127.0.0.1:{front.port}", front.certificate)


@pytest.mark.needs("gh", "nginx")
def test_gh_works_with_this_host(town: Town, app: str, gh: _Gh) -> None:
    """As an Enterprise Server: what it reads, pages, deletes, and how it shows an error."""
    name = _pushed(town, app)
    package = f"/orgs/acme/packages/container/{name}"
    assert gh.json("user")["login"] == "ada"
    assert gh.json(package)["name"] == name
    listed = gh.api("--paginate", "--jq", ".[].id", f"{package}/versions?per_page=1")
    numbers = listed.stdout.split()
    assert len(numbers) == 2
    deleted = gh.api("--method", "DELETE", f"{package}/versions/{numbers[-1]}")
    assert deleted.returncode == 0, deleted.stderr
    assert len(gh.json(f"{package}/versions")) == 1
    refused = gh.api("/orgs/acme/packages/container/none")
    assert refused.returncode == 1
    assert "package acme/none is not known here (HTTP 404)" in refused.stderr
