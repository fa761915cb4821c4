"""What pages of other sites make a browser send changes nothing and gets no token."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.registry.access.chromium import open_tab
from tests.registry.access.conftest import basic
from tests.registry.access.test_browser import status_of
from tests.registry.access.test_rest import JSON, api, path_of
from tests.registry.protocol import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.access.conftest import Town


FOREIGN = {
    "another host": {"Origin": "https://evil.example"},
    "a sandbox": {"Origin": "null"},
    "no origin at all": {"Origin": "x"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "brackets": {"Origin": "http://[x"},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "a sibling": {"Sec-Fetch-Site": "same-site"},
    "something new": {"Sec-Fetch-Site": "elsewhere"},
    "a liar": {"Sec-Fetch-Site": "cross-site", "Origin": "http://own"},
}


@pytest.mark.parametrize("who", FOREIGN)
def test_what_another_site_sends_is_refused(town: Town, app: str, who: str) -> None:
    """RFC 6454, section 7.3, and Fetch Metadata."""
    ada = town.person("ada")
    ada.push_image(app)
    own = {"Origin": f"http://{town.address}"}
    shown = {name: own["Origin"] if text == "http://own" else text
             for name, text in FOREIGN[who].items()}  # fmt: skip
    for method, path in (
        ("DELETE", f"/api{path_of(app)}"),
        ("PATCH", f"/api{path_of(app)}"),
        ("POST", "/api/user/tokens"),
        ("DELETE", f"/v2/{app}/manifests/latest"),
        ("POST", f"/v2/{app}/blobs/uploads/"),
        ("GET", "/token?offline_token=true"),
        ("POST", "/token"),
    ):
        answer = ada.send(method, path, headers=shown)
        assert answer.status == 403, (method, path)
        codes = [answer.json()["code"]] if path.startswith("/api/") else answer.codes
        assert codes == ["DENIED"], (method, path)
    assert ada.send("GET", f"/v2/{app}/manifests/latest", headers=shown).status == 200


def test_own_pages_and_clients_that_are_no_browsers_are_let_in(town: Town, app: str) -> None:
    ada = town.person("ada")
    ada.push_image(app)
    content = json.dumps({"immutable_tags": False}).encode()
    for shown in (
        {},
        {"Origin": f"http://{town.address}", "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"HTTPS://{town.address}"},
        {"Sec-Fetch-Site": "none"},
        # the proxy says by which name the browser came
        {"Origin": "https://r.example", "X-Forwarded-Host": "r.example"},
    ):
        assert ada.send("GET", "/token", headers=shown).status == 200
        answer = ada.send("POST", f"/v2/{app}/blobs/uploads/", headers=shown)
        assert answer.status == 202, answer.body
        answer = ada.send("PATCH", f"/api{path_of(app)}", content, {**JSON, **shown})
        assert answer.status in {200, 400}, answer.body


def test_the_blob_api_is_guarded_too(town: Town) -> None:
    client = Registry(town.daemon.blob_api_url.removeprefix("http://"))
    for shown in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.send("POST", "/uploads", headers=shown).status == 403
    assert client.send("POST", "/uploads").status == 202


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/vnd.github+json", 200),
        ("text/plain", 415),
        ("text/plain; application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=application/json", 415),
        ("application/jsonp", 415),
        ("", 415),
        (None, 415),
    ],
)
def test_a_json_body_says_so(town: Town, app: str, media_type: str | None, status: int) -> None:
    """RFC 9110, section 15.5.16. The three types that any page may send are not among them."""
    ada = town.person("ada")
    ada.push_image(app)
    headers = {} if media_type is None else {"Content-Type": media_type}
    content = json.dumps({"visibility": "internal"}).encode()
    answer = ada.send("PATCH", f"/api{path_of(app)}", content, headers)
    assert answer.status == status, answer.body
    if status == 415:
        assert "application/json" in answer.json()["message"]


def test_a_call_without_a_body_needs_no_type(town: Town, app: str) -> None:
    ada = town.person("ada")
    ada.push_image(app)
    path = f"/api{path_of(app)}"
    assert ada.send("DELETE", path).status == 204
    assert ada.send("POST", f"{path}/restore", b"", {"Content-Type": "text/plain"}).status == 415
    assert ada.send("POST", f"{path}/restore", b"").status == 204


@pytest.fixture
def evil() -> Iterator[str]:
    """The address of another site, with an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>evil</title><body>")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.needs("chromium")
async def test_a_browser_that_remembers_a_login_is_no_tool_of_others(
    town: Town, app: str, evil: str, tmp_path: Path
) -> None:
    """A form and a script of another site, sent by a real browser with its user's credential."""
    ada = town.person("ada")
    ada.push_image(app)
    api(town, "ada").do("DELETE", path_of(app))
    restore = f"http://{town.address}/api{path_of(app)}/restore"
    token = f"http://{town.address}/token?offline_token=true"
    async with open_tab(tmp_path / "profile") as tab:
        await tab.sign_in(basic("blobd_pat_ada"))
        await tab.open(evil)
        await tab.evaluate(
            f"Promise.allSettled(['{restore}', '{token}'].map(url => fetch(url, {{method: 'POST', "
            "mode: 'no-cors', credentials: 'include', body: '{}'})))"
        )
        for url, method in ((restore, "post"), (token, "get")):
            await tab.open(evil)
            await tab.follow(
                "const form = document.createElement('form');"
                f"form.action = '{url}'; form.method = '{method}'; form.enctype = 'text/plain';"
                "document.body.append(form); form.submit()"
            )
            assert await status_of(tab) == 403
    assert api(town, "ada").call("GET", path_of(app)).status == 404
