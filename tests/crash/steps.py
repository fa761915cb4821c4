"""One upload taken step by step, each through the daemon that a test says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.crash.exchange import Answer, Exchange, ask
from tests.crash.uploading import expect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.crash.contents import Content
    from tests.crash.ledger import Place
    from tests.daemon import Daemon


def address_of(daemon: Daemon, place: Place) -> str:
    url = daemon.registry_url if place.repository else daemon.blob_api_url
    return url.removeprefix("http://")


@dataclass(frozen=True, slots=True)
class Upload:
    """An open upload of a content."""

    place: Place
    upload_id: str
    content: Content

    @property
    def target(self) -> str:
        return self.place.upload(self.upload_id)

    @property
    def closing(self) -> str:
        """The target of the PUT that closes it."""
        return f"{self.target}?digest={self.content.digest}"

    async def status(self, daemon: Daemon) -> Answer:
        return await ask(address_of(daemon, self.place), "GET", self.target)

    async def patch(self, daemon: Daemon, start: int, stop: int) -> Answer:
        """PATCH a span of the content, with its Content-Range."""
        return await ask(
            address_of(daemon, self.place),
            "PATCH",
            self.target,
            headers={"Content-Range": f"{start}-{stop - 1}"},
            body=self.content.data[start:stop],
        )

    async def put(self, daemon: Daemon, start: int) -> Answer:
        """PUT what is left from a start."""
        return await ask(
            address_of(daemon, self.place), "PUT", self.closing, body=self.content.data[start:]
        )

    async def delete(self, daemon: Daemon) -> Answer:
        return await ask(address_of(daemon, self.place), "DELETE", self.target)

    async def read(self, daemon: Daemon) -> Answer:
        """GET the blob that it has become."""
        target = self.place.blob(self.content.digest)
        return await ask(address_of(daemon, self.place), "GET", target)

    @asynccontextmanager
    async def writing(
        self, daemon: Daemon, method: str, *, length_bytes: int | None = None
    ) -> AsyncIterator[Exchange]:
        """Be its writer, having sent nothing of the body yet; without a length it is chunked."""
        framing: dict[str, str | int] = {"Transfer-Encoding": "chunked"}
        if length_bytes is not None:
            framing = {"Content-Length": length_bytes}
        target = self.closing if method == "PUT" else self.target
        async with Exchange(address_of(daemon, self.place)) as exchange:
            await exchange.head(method, target, framing | {"Expect": "100-continue"})
            await exchange.invited()
            yield exchange


async def begin(daemon: Daemon, place: Place, content: Content) -> Upload:
    """POST."""
    target = f"{place.uploads}?digest-algorithm={content.algorithm}"
    answer = await ask(address_of(daemon, place), "POST", target)
    expect(answer, 202)
    return Upload(place, answer.headers["docker-upload-uuid"], content)


async def push(daemon: Daemon, place: Place, content: Content) -> Upload:
    """POST and PUT; return the upload that has become the blob."""
    upload = await begin(daemon, place, content)
    expect(await upload.put(daemon, 0), 201)
    return upload
