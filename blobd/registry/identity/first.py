"""The first administrator, made where there is nobody yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.auth.roles import SCOPES
from blobd.registry.catalog import accounts
from blobd.registry.identity.tokens import write_personal_token

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction

ADMINISTRATOR = "admin"
"""Its name, unless that was a namespace before there were identities."""
_OTHER_NAMES = ("administrator", "root")


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """The initial administrator and its token."""

    name: str
    secret: str


async def first_administrator(catalog: Catalog) -> FirstAdministrator | None:
    """Make an administrator with a token for everything, and return both.

    None where there is one already: of several processes that begin together one makes it.
    """
    now = catalog.now()

    def make(transaction: Transaction) -> FirstAdministrator | None:
        for name in (ADMINISTRATOR, *_OTHER_NAMES):
            if accounts.has_administrator(transaction):
                return None
            if accounts.insert_account(
                transaction, name, accounts.USER, is_administrator=True, now=now
            ):
                made = accounts.find_account(transaction, name)
                if made is None:
                    raise AssertionError(f"account {name} was inserted and is not there")
                token = write_personal_token(
                    transaction,
                    made.account_id,
                    scopes=SCOPES,
                    note="the first token",
                    now=now,
                    expires_at=None,
                )
                return FirstAdministrator(name, token.secret)
        return None

    return await catalog.write(make)
