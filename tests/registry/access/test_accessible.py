"""Every page in a browser: axe-core finds nothing, in light and dark, on a phone and a desk."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.registry.access.chromium import open_tab
from tests.registry.access.npm import install
from tests.registry.access.test_cut_texts import push as push_labelled
from tests.registry.access.test_rest import api, path_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.access.chromium import Tab
    from tests.registry.access.conftest import Town

_AXE = "axe-core@4.10.2"
_WITHIN_S = 120

pytestmark = pytest.mark.needs("chromium", "npm")


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, as its package has it."""
    place: Path = tmp_path_factory.mktemp("axe")
    install(_AXE, place)
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text()


async def faults(tab: Tab, axe: str) -> list[str]:
    """Return what axe-core finds wrong with the page that is open."""
    await tab.evaluate(f"{axe}; null")
    found = await tab.evaluate(
        "axe.run().then(result => result.violations.map(each =>"
        " each.id + ': ' + each.nodes.map(node => node.html.slice(0, 120)).join(' | ')))"
    )
    assert isinstance(found, list)
    return found


async def test_axe_finds_nothing_on_any_page(
    town: Town, app: str, axe: str, tmp_path: Path
) -> None:
    ada = town.person("ada")
    ada.push_image(app, "v1", "first")
    ada.push_image(app, "v2", "second")
    client = api(town, "ada")
    first = client.get(f"{path_of(app)}/versions")[-1]["id"]
    client.do("DELETE", f"{path_of(app)}/versions/{first}")
    client.do("PUT", f"{path_of(app)}/repository", repository="acme/code")
    client.do("PUT", f"{path_of(app)}/access/roles/bob", role="read")
    client.do("PUT", f"{path_of(app)}/access/workflows/acme%2Fcode/automation", role="write")
    client.do("POST", "/orgs/acme/teams", name=app.partition("/")[2])
    push_labelled(ada, app, "v3", description="x" * 600)
    version = client.get(f"{path_of(app)}/versions")[0]
    paths = [
        "/", "/packages/", "/packages/?q=nothing-of-this-name", "/packages/acme",
        f"/packages/{app}", f"/packages/{app}/-/versions",
        f"/packages/{app}/-/versions/{version['id']}", f"/packages/{app}/-/settings",
        f"/packages/{app}/-/settings?done=role", "/packages/acme/-/settings",
        "/settings/tokens", "/settings/tokens/new?scopes=write:packages", "/packages/acme/nothing",
    ]  # fmt: skip
    async with open_tab(tmp_path / "profile") as tab:
        await tab.open(f"http://{town.address}/packages/-/sign-in")
        assert await faults(tab, axe) == []
        await tab.evaluate("document.querySelector('#token').value = 'blobd_pat_ada'")
        await tab.follow("document.querySelector('button.primary').click()")
        for scheme, width in (("light", 320), ("dark", 1280)):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await tab.ask("Emulation.setEmulatedMedia", features=[feature])
            await tab.resize(width, 900, phone=width == 320)
            for path in paths:
                await tab.open(f"http://{town.address}{path}")
                assert await faults(tab, axe) == [], f"{path} {scheme}"
                wide = await tab.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, path
        await tab.open(f"http://{town.address}/settings/tokens/new?scopes=read:packages")
        await tab.follow("document.querySelector('button.primary').click()")
        assert "blobd_pat_" in await tab.evaluate("document.querySelector('main').innerText")
        assert await faults(tab, axe) == []


async def test_axe_finds_nothing_on_the_administrators_pages(
    town: Town, axe: str, tmp_path: Path
) -> None:
    shut_out = f"n{secrets.token_hex(5)}"
    client = api(town, "admin")
    client.do("POST", "/users", name=shut_out)
    client.do("POST", f"/users/{shut_out}/disable")
    paths = [
        "/settings/users", f"/settings/users?q={shut_out}&done=disable",
        "/settings/users?q=nobody-of-this-name", "/settings/organisations?done=add",
    ]  # fmt: skip
    async with open_tab(tmp_path / "profile") as tab:
        await tab.open(f"http://{town.address}/packages/-/sign-in?next=/settings/users")
        secret = town.daemon.first_token
        await tab.evaluate(f"document.querySelector('#token').value = '{secret}'")
        await tab.follow("document.querySelector('button.primary').click()")
        assert await tab.evaluate("document.querySelector('h1').innerText") == "Users"
        for scheme, width in (("light", 320), ("dark", 1280)):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await tab.ask("Emulation.setEmulatedMedia", features=[feature])
            await tab.resize(width, 900, phone=width == 320)
            for path in paths:
                await tab.open(f"http://{town.address}{path}")
                assert await faults(tab, axe) == [], f"{path} {scheme}"
                wide = await tab.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, path
