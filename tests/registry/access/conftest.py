"""A daemon that asks who is there, with people and packages, and their clients."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from blobd.config import load
from blobd.database import open_catalog
from blobd.registry.auth.bearer import ACCESS, Claims, Keyring, SigningKey
from blobd.registry.auth.coverage import NamedScopes
from blobd.registry.auth.scopes import parse_scopes
from blobd.registry.catalog.tables import accounts, memberships, sources, tokens
from blobd.registry.identity.signing_keys import load_signing_keys, open_seals
from tests.daemon import Daemon
from tests.registry.acts import image, place_of
from tests.registry.identity.worlds import ACME, ADA, BOB, EVE, fill, people, token
from tests.registry.protocol import Answer, Registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Executable

    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.sealing import Seals


def basic(secret: str, user: str = "somebody") -> str:
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


class Client(Registry):
    """A client that shows a credential with every request; None: it has none."""

    def __init__(self, address: str, credential: str | None) -> None:
        super().__init__(address)
        self.address = address
        self.credential = credential
        # as through a proxy, so that failed logins of one test slow no other down
        self.comes_from = f"10.{'.'.join(str(secrets.randbelow(256)) for _ in range(3))}"

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        shown = {"X-Forwarded-For": self.comes_from}
        if self.credential is not None:
            shown["Authorization"] = self.credential
        return super().send(method, path, body, {**shown, **(headers or {})})

    def push_image(self, name: str, reference: str = "latest", text: str = "layer") -> str:
        """Push an image of one layer; return the digest of its manifest."""
        config = self.push(name, json.dumps({"architecture": "amd64", "os": "linux"}).encode())
        layer = self.push(name, text.encode())
        answer = self.put_manifest(name, reference, image(config, layer))
        assert answer.status == 201, answer.body
        return str(answer.headers["Docker-Content-Digest"])


class Town:
    """The daemon, and what only its operator can do."""

    def __init__(self, daemon: Daemon, url: str) -> None:
        self.daemon = daemon
        self.address = daemon.registry
        self.url = url

    def client(self, credential: str | None = None) -> Client:
        return Client(self.address, credential)

    def admin(self) -> Client:
        assert self.daemon.first_token is not None
        return self.client(basic(self.daemon.first_token))

    def person(self, name: str) -> Client:
        """Return the client of who has the token `blobd_pat_<name>`."""
        return self.client(basic(f"blobd_pat_{name}"))

    def bearer(self, secret: str | None, *scopes: str) -> Client:
        """Return a client that has got a bearer token for these scopes."""
        query = urlencode([("scope", scope) for scope in scopes])
        answer = self.client(None if secret is None else basic(secret)).get(f"/token?{query}")
        assert answer.status == 200, answer.body
        return self.client(f"Bearer {answer.json()['token']}")

    def change(self, *statements: Executable) -> None:
        """Write into the daemon's catalog, beside it."""

        async def write(catalog: Catalog) -> None:
            for statement in statements:
                await catalog.write(partial(_execute, statement))

        self.with_catalog(write)

    def keys(self) -> Sequence[SigningKey]:
        found: list[SigningKey] = []
        seals = self._seals()

        async def load(catalog: Catalog) -> None:
            found.extend(await load_signing_keys(catalog, seals))

        self.with_catalog(load)
        return found

    def _seals(self) -> Seals:
        flags = {"store.path": str(self.daemon.data), "catalog.url": self.url}
        return open_seals(load(file=None, environment={}, flags=flags))

    def signed(self, *scopes: str, **changes: object) -> str:
        """Return an Authorization header of the registry's own making, but for the changes."""
        now = time.time()
        facts = {
            "use": ACCESS,
            "account": "ada",
            "token_id": "ada",
            "covers": NamedScopes(parse_scopes(scopes)),
            "issued_at": now,
            "expires_at": now + 300,
            "audience": "blobd",
            "keys": self.keys(),
        } | changes
        keys, audience = facts.pop("keys"), facts.pop("audience")

        async def load() -> Sequence[SigningKey]:
            return keys  # type: ignore[return-value]

        ring = Keyring(load, audience=audience, clock=time.time)  # type: ignore[arg-type]
        return f"Bearer {asyncio.run(ring.sign(Claims(**facts)))}"  # type: ignore[arg-type]

    def with_catalog(self, work: Callable[[Catalog], Awaitable[None]]) -> None:
        async def run() -> None:
            async with open_catalog(place_of(self.url), durable=False) as catalog:
                await work(catalog)

        asyncio.run(run())


def _execute(statement: Executable, transaction: Transaction) -> None:
    transaction.execute(statement)


@pytest.fixture(scope="package")
def town(
    kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Town]:
    """Ada owns acme, bob is a member, eve is neither; `w` is a workflow's of acme's source 1."""
    data: Path = tmp_path_factory.mktemp("town") / "data"
    settings = {
        "store.durability": "none",
        "registry.auth": "true",
        "log.level": "debug",
        "registry.trash_retention_s": "86400",
        "registry.trusted_proxies": "127.0.0.1",
        "registry.refresh_tokens": "true",
    }
    url = f"sqlite:///{data}/catalog.sqlite"
    if kind == "postgresql":
        url = settings["catalog.url"] = request.getfixturevalue("postgres").create_database()
    with Daemon(data, settings=settings) as daemon:
        town = Town(daemon, url)

        async def settle(catalog: Catalog) -> None:
            now = catalog.now()
            some = [
                token("ada", ADA, "blobd_pat_ada"),
                token("bob", BOB, "blobd_pat_bob"),
                token("bobr", BOB, "blobd_pat_bobr", scopes="read:packages"),
                token("eve", EVE, "blobd_pat_eve"),
                token("gone", BOB, "blobd_pat_gone", revoked_at=now),
                token("over", BOB, "blobd_pat_over", expires_at=now - 60),
                token("w", ADA, "blobd_wft_w", kind="automation", source_id=1001),
            ]
            source = {
                "id": 1001,
                "owner_id": ACME,
                "name": "code",
                "visibility": "private",
                "created_at": now,
            }
            belongs = [
                {"organisation_id": ACME, "account_id": ADA, "role": "owner"},
                {"organisation_id": ACME, "account_id": BOB, "role": "member"},
            ]
            await fill(
                catalog,
                [(accounts, people()), (memberships, belongs), (sources, [source]), (tokens, some)],
            )

        town.with_catalog(settle)
        yield town


@pytest.fixture
def app() -> str:
    """A package of acme that no other test uses."""
    return f"acme/{secrets.token_hex(6)}"
