"""A headless Chromium, spoken to by its own protocol (Chrome DevTools Protocol, over a socket)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, WSMsgType

from tests.daemon import which

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aiohttp import ClientWebSocketResponse

_WITHIN_S = 60.0


class Tab:
    """One page; what it complains of is kept."""

    def __init__(self, socket: ClientWebSocketResponse, session: str) -> None:
        self._socket = socket
        self._session = session
        self._numbers = itertools.count(1000)
        self._loaded = asyncio.Event()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.complaints: list[str] = []
        """What the console was told: errors of scripts, what the policy kept out."""

    async def listen(self) -> None:
        """Take in what the browser says, until cancelled."""
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                continue
            said = message.json()
            if "id" in said and said["id"] in self._answers:
                self._answers.pop(said["id"]).set_result(said)
            match said.get("method"):
                case "Page.loadEventFired":
                    self._loaded.set()
                case "Log.entryAdded":
                    self.complaints.append(said["params"]["entry"]["text"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(said["params"]))
                case _:
                    pass

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        await self._socket.send_json(
            {"id": number, "sessionId": self._session, "method": method, "params": parameters}
        )
        said = await asyncio.wait_for(answer, _WITHIN_S)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    async def open(self, url: str) -> None:
        """Go to a page, and wait until all of it has loaded."""
        self._loaded.clear()
        await self.ask("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _WITHIN_S)

    async def follow(self, expression: str) -> None:
        """Evaluate what leads to another page, and wait until all of that has loaded."""
        self._loaded.clear()
        await self.evaluate(expression)
        await asyncio.wait_for(self._loaded.wait(), _WITHIN_S)

    async def sign_in(self, authorization: str) -> None:
        await self.ask("Network.setExtraHTTPHeaders", headers={"Authorization": authorization})

    async def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )

    async def evaluate(self, expression: str) -> Any:
        """Return what an expression is in the page; its promise is waited for."""
        result = await self.ask(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def press(self, key: str) -> None:
        codes = {"Tab": 9, "Enter": 13}
        for kind in ("rawKeyDown", "char", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "char" else {}
            if kind == "char" and not text:
                continue
            await self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=codes[key],
                **text,
            )

    async def photograph(self) -> bytes:
        """Return what the page looks like, as PNG."""
        shot = await self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])


@asynccontextmanager
async def open_tab(home: Path) -> AsyncIterator[Tab]:
    """Start a browser with a profile of its own, yield a tab, and end it."""
    with running(home) as url:
        async with (
            ClientSession() as client,
            client.ws_connect(url, max_msg_size=0) as socket,
            asyncio.TaskGroup() as group,
        ):
            tab = Tab(socket, await _attach(socket))
            listening = group.create_task(tab.listen())
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.ask(f"{domain}.enable")
            yield tab
            listening.cancel()


@contextmanager
def running(home: Path) -> Iterator[str]:
    """Run a browser; yield where it is spoken to."""
    program = which("chromium")
    assert program is not None
    command = [
        *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", "--disable-background-networking", "--remote-debugging-port=0"),
        *(f"--user-data-dir={home}", "about:blank"),
    ]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        yield _address(home / "DevToolsActivePort", process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(said: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the browser has ended"
        if said.is_file() and len(lines := said.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise AssertionError("the browser does not listen")


async def _attach(socket: ClientWebSocketResponse) -> str:
    """Open a tab, and return the session to speak to it by."""
    await socket.send_json(
        {"id": 1, "method": "Target.createTarget", "params": {"url": "about:blank"}}
    )
    target = await _answer(socket, 1)
    parameters = {"targetId": target["targetId"], "flatten": True}
    await socket.send_json({"id": 2, "method": "Target.attachToTarget", "params": parameters})
    session: str = (await _answer(socket, 2))["sessionId"]
    return session


async def _answer(socket: ClientWebSocketResponse, number: int) -> dict[str, Any]:
    while True:
        said = await socket.receive_json(timeout=_WITHIN_S)
        if said.get("id") == number:
            result: dict[str, Any] = said["result"]
            return result
