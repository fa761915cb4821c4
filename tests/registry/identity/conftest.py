"""People with tokens, and what finds out who they are, by a clock that tests turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blobd.registry.auth.attempts import Attempts
from blobd.registry.auth.bearer import ACCESS, Claims, Keyring, SigningKey
from blobd.registry.auth.coverage import NamedScopes
from blobd.registry.auth.scopes import parse_scopes
from blobd.registry.catalog.tables import accounts, memberships, sources, tokens
from blobd.registry.identity.authenticator import Authenticator
from blobd.registry.identity.authorizer import Authorizer
from blobd.registry.identity.upload_secrets import UploadSecrets
from tests.registry.identity.worlds import ACME, ADA, BOB, EVE, ROOT, fill, people, token

if TYPE_CHECKING:
    from blobd.database import Catalog
    from tests.registry.acts import Clock

DAY_S = 86_400.0


class Desk:
    """An authorizer with what stands behind it."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        key = SigningKey.make(now=clock())

        async def load() -> list[SigningKey]:
            return [key]

        self.keyring = Keyring(load, audience="here", clock=clock)
        self.authenticator = Authenticator(catalog, self.keyring, Attempts(clock))
        self.secrets = UploadSecrets(self.keyring)
        self.authorizer = Authorizer(catalog, self.authenticator, self.secrets, clock=clock)
        self._clock = clock

    async def bearer(self, token_id: str, *scopes: str, lasts_s: float = 300.0) -> str:
        """Return an Authorization header with a bearer token for these scopes."""
        now = self._clock()
        covers = NamedScopes(parse_scopes(scopes))
        claims = Claims(ACCESS, "somebody", token_id, covers, now, now + lasts_s)
        return f"Bearer {await self.keyring.sign(claims)}"


@pytest.fixture
async def desk(catalog: Catalog, clock: Clock) -> Desk:
    """Ada owns acme and bob is a member; `w` is a workflow's token of acme's source 1."""
    now = clock()
    workflow = {"kind": "automation", "source_id": 1}
    some = [
        token("ada", ADA, "blobd_pat_ada"),
        token("bob", BOB, "blobd_pat_bob"),
        token("bobr", BOB, "blobd_pat_bobr", scopes="read:packages"),
        token("eve", EVE, "blobd_pat_eve"),
        token("root", ROOT, "blobd_pat_root"),
        token("gone", BOB, "blobd_pat_gone", revoked_at=now - DAY_S),
        token("soon", BOB, "blobd_pat_soon", expires_at=now + 60),
        token("w", ADA, "blobd_wft_w", **workflow),
    ]
    source = {"id": 1, "owner_id": ACME, "name": "code", "visibility": "private", "created_at": now}
    belongs = [
        {"organisation_id": ACME, "account_id": ADA, "role": "owner"},
        {"organisation_id": ACME, "account_id": BOB, "role": "member"},
    ]
    await fill(
        catalog,
        [(accounts, people()), (memberships, belongs), (sources, [source]), (tokens, some)],
    )
    return Desk(catalog, clock)
