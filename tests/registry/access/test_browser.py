"""The pages in a browser: what visitors see on any screen and by keys; no script of users runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.registry.access.chromium import open_tab
from tests.registry.access.conftest import basic
from tests.registry.access.test_rest import api, path_of
from tests.registry.acts import image

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.registry.access.chromium import Tab
    from tests.registry.access.conftest import Client, Town

PREFIX = "org.opencontainers.image."
HOSTILE = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with open_tab(tmp_path / "profile") as opened:
        yield opened


def push_described(client: Client, name: str, tag: str, **labels: str) -> None:
    config = {
        "os": "linux",
        "architecture": "arm64",
        "config": {"Labels": {f"{PREFIX}{label}": text for label, text in labels.items()}},
    }
    pushed = client.push(name, json.dumps(config).encode())
    layer = client.push(name, f"layer of {tag}".encode() * 1000)
    assert client.put_manifest(name, tag, image(pushed, layer)).status == 201


async def text_of(tab: Tab) -> str:
    return str(await tab.evaluate("document.body.innerText"))


async def status_of(tab: Tab) -> Any:
    return await tab.evaluate("performance.getEntriesByType('navigation')[0].responseStatus")


async def test_a_package_page_shows_what_there_is_to_know(
    town: Town, app: str, tab: Tab, tmp_path: Path
) -> None:
    ada = town.person("ada")
    push_described(
        ada,
        app,
        "v1",
        description="A small server",
        licenses="MIT",
        source="https://git.example/a/b",
    )
    ada.push_image(app, "latest")
    api(town, "ada").do("PATCH", path_of(app), 200, visibility="public")
    await tab.resize(1100, 1000)
    await tab.open(f"http://{town.address}/packages/{app}")
    shown = await text_of(tab)
    for wanted in ("A small server", "MIT", "https://git.example/a/b", "public", "latest", "v1"):
        assert wanted in shown
    for wanted in ("linux/arm64", "linux/amd64", f"docker pull {town.address}/{app}:latest"):
        assert wanted in shown
    assert f"docker pull {town.address}/{app}@sha256:" in shown
    assert await status_of(tab) == 200
    assert tab.complaints == []
    (tmp_path / "package.png").write_bytes(await tab.photograph())


async def test_nothing_that_users_wrote_runs(town: Town, app: str, tab: Tab) -> None:
    push_described(town.person("ada"), app, "v1", description=HOSTILE)
    await tab.sign_in(basic("blobd_pat_ada"))
    await tab.open(f"http://{town.address}/packages/{app}")
    assert HOSTILE in await text_of(tab)
    assert "taken" not in await tab.evaluate("document.title")
    await tab.open(f"http://{town.address}/packages/acme")
    assert "taken" not in await tab.evaluate("document.title")
    assert tab.complaints == []
    # and the policy would have kept it from running, had it got there
    await tab.evaluate(
        "new Promise(done => { const script = document.createElement('script');"
        "script.textContent = \"document.title = 'taken'\";"
        "document.body.append(script); setTimeout(done, 100); })"
    )
    assert "taken" not in await tab.evaluate("document.title")
    assert any("Content Security Policy" in said for said in tab.complaints)


async def test_what_a_visitor_may_not_read_is_not_there(town: Town, app: str, tab: Tab) -> None:
    town.person("ada").push_image(app)
    told = []
    for name in (app, f"acme/{'0' * 12}"):
        await tab.open(f"http://{town.address}/packages/{name}")
        assert await status_of(tab) == 404
        told.append((await text_of(tab)).replace(name, "NAME"))
    assert told[0] == told[1]
    tab.complaints.clear()
    await tab.sign_in(basic("blobd_pat_ada"))
    await tab.open(f"http://{town.address}/packages/{app}")
    assert await status_of(tab) == 200
    assert "signed in as ada" in await text_of(tab)
    await tab.open(f"http://{town.address}/packages/acme")
    assert app.partition("/")[2] in await text_of(tab)
    assert tab.complaints == []


@pytest.mark.parametrize("width", [320, 390, 768])
async def test_a_phone_shows_all_of_it(town: Town, app: str, tab: Tab, width: int) -> None:
    push_described(town.person("ada"), app, "a" * 100, description="word " * 100)
    await tab.resize(width, 844, phone=True)
    await tab.sign_in(basic("blobd_pat_ada"))
    for path in (app, "acme"):
        await tab.open(f"http://{town.address}/packages/{path}")
        wide = await tab.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


async def test_keys_reach_everything(town: Town, app: str, tab: Tab) -> None:
    town.person("ada").push_image(app)
    await tab.sign_in(basic("blobd_pat_ada"))
    await tab.open(f"http://{town.address}/packages/{app}")
    reached = []
    for _ in range(30):
        await tab.press("Tab")
        reached.append(await tab.evaluate("document.activeElement.innerText"))
    assert "Skip" in reached[0]
    for wanted in ("acme", "Copy", f"docker pull {town.address}/{app}:latest"):
        assert any(wanted in (text or "") for text in reached), wanted
    await tab.evaluate("document.querySelector('button[data-copy]').focus()")
    await tab.press("Enter")
    said = "Copy"
    for _ in range(50):
        said = await tab.evaluate("document.querySelector('button[data-copy]').textContent")
        if said != "Copy":
            break
    assert said in {"Copied", "Selected"}


async def test_a_person_signs_in_and_out(town: Town, app: str, tab: Tab) -> None:
    """The whole way, as a browser goes it: with its cookies, its Origin and the policy."""
    town.person("ada").push_image(app)
    where = f"http://{town.address}/packages/{app}"
    await tab.open(where)
    assert await status_of(tab) == 404
    await tab.follow("document.querySelector('nav.account a').click()")
    await tab.evaluate("document.querySelector('#token').value = 'blobd_pat_ada'")
    await tab.follow("document.querySelector('button.primary').click()")
    assert await tab.evaluate("location.href") == where
    assert "signed in as ada" in await text_of(tab)
    assert await tab.evaluate("document.cookie") == ""
    await tab.follow("document.querySelector('nav.account button').click()")
    assert "Sign in" in await text_of(tab)
    await tab.open(where)
    assert await status_of(tab) == 404


def test_a_password_that_the_browser_sends_is_never_taken_for_none(town: Town) -> None:
    nobody = town.client()
    assert nobody.get("/packages/").status == 200
    answer = town.person("gone").get("/packages/acme")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    policy = nobody.get("/packages/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "path",
    ["..", "%2e%2e/x", "acme/%00", "%00", "acme/<b>", "a" * 3000, "acme/a?page=-1", "-/00/x.css"],
)
def test_odd_paths_are_not_there(town: Town, path: str) -> None:
    answer = town.client().get(f"/packages/{path}")
    assert answer.status in {404, 400}
    assert b"<b>" not in answer.body
