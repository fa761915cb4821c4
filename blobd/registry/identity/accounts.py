"""Users and organisations: created, disabled, enabled; and memberships."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.errors import Refused
from blobd.registry.catalog import accounts, teams
from blobd.registry.catalog.accounts import ORGANISATION, OWNER, USER
from blobd.registry.errors import AlreadyExists, NotFound
from blobd.registry.names import is_account, parse_account

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.registry.catalog.accounts import Account, Member


async def add_user(catalog: Catalog, name: str, *, is_administrator: bool = False) -> None:
    """Make a user. Raises AccountInvalid, AlreadyExists."""
    parse_account(name)
    now = catalog.now()

    def add(transaction: Transaction) -> None:
        if not accounts.insert_account(
            transaction, name, USER, is_administrator=is_administrator, now=now
        ):
            raise AlreadyExists("account", name)

    await catalog.write(add)


async def add_organisation(catalog: Catalog, name: str, *, owner: str) -> None:
    """Make an organisation that a user owns. Raises AccountInvalid, AlreadyExists, NotFound."""
    parse_account(name)
    now = catalog.now()

    def add(transaction: Transaction) -> None:
        user = known(transaction, USER, owner)
        if not accounts.insert_account(
            transaction, name, ORGANISATION, is_administrator=False, now=now
        ):
            raise AlreadyExists("account", name)
        made = known(transaction, ORGANISATION, name)
        accounts.set_member(transaction, made.account_id, user.account_id, OWNER)

    await catalog.write(add)


async def find_account(catalog: Catalog, name: str) -> Account | None:
    """Return a user or an organisation."""
    # what cannot be a name may be what no database takes as a text
    if not is_account(name):
        return None
    return await catalog.read(lambda transaction: accounts.find_account(transaction, name))


async def list_accounts(catalog: Catalog, kind: str) -> list[Account]:
    """Return all users or all organisations, by name."""
    return await catalog.read(lambda transaction: accounts.list_accounts(transaction, kind))


async def disable_user(catalog: Catalog, name: str) -> None:
    """Shut a user out: no token of it counts from now. Raises NotFound, Refused."""
    now = catalog.now()

    def disable(transaction: Transaction) -> None:
        user = known(transaction, USER, name)
        if user.disabled_at is not None:
            return
        if user.is_administrator and accounts.count_administrators(transaction) == 1:
            raise Refused(f"{name} is the last administrator; make another one first")
        accounts.set_disabled(transaction, user.account_id, now)

    await catalog.write(disable)


async def enable_user(catalog: Catalog, name: str) -> None:
    """Let a user in again, with the tokens it had. Raises NotFound."""

    def enable(transaction: Transaction) -> None:
        accounts.set_disabled(transaction, known(transaction, USER, name).account_id, None)

    await catalog.write(enable)


async def set_member(catalog: Catalog, organisation: str, user: str, role: str) -> None:
    """Let a user belong to an organisation as OWNER or MEMBER.

    Raises NotFound; Refused where it is the last owner and would not be one.
    """

    def change(transaction: Transaction) -> None:
        place = known(transaction, ORGANISATION, organisation)
        who = known(transaction, USER, user)
        if role != OWNER:
            _check_owner_stays(transaction, place, who)
        accounts.set_member(transaction, place.account_id, who.account_id, role)

    await catalog.write(change)


async def set_packages_inherit(catalog: Catalog, organisation: str, *, inherit: bool) -> None:
    """Say whether new packages of an organisation inherit access from their source repository.

    Those that are there stay as they are. Raises NotFound.
    """

    def change(transaction: Transaction) -> None:
        place = known(transaction, ORGANISATION, organisation)
        accounts.set_packages_inherit(transaction, place.account_id, inherit=inherit)

    await catalog.write(change)


async def remove_member(catalog: Catalog, organisation: str, user: str) -> None:
    """Remove a member, and from all its teams too.

    Raises NotFound; Refused for the last owner.
    """

    def change(transaction: Transaction) -> None:
        place = known(transaction, ORGANISATION, organisation)
        who = known(transaction, USER, user)
        _check_owner_stays(transaction, place, who)
        if not accounts.delete_member(transaction, place.account_id, who.account_id):
            raise NotFound("member", f"{user} of {organisation}")
        teams.delete_from_teams(transaction, place.account_id, who.account_id)

    await catalog.write(change)


async def list_members(catalog: Catalog, organisation: str) -> list[Member]:
    """Return the members of an organisation, by name. Raises NotFound."""

    def find(transaction: Transaction) -> list[Member]:
        place = known(transaction, ORGANISATION, organisation)
        return accounts.list_members(transaction, place.account_id)

    return await catalog.read(find)


def known(transaction: Transaction, kind: str, name: str) -> Account:
    """Return an account of a kind. Raises NotFound."""
    # what cannot be a name may be what no database takes as a text
    found = accounts.find_account(transaction, name) if is_account(name) else None
    if found is None or found.kind != kind:
        raise NotFound(kind, name)
    return found


def _check_owner_stays(transaction: Transaction, place: Account, who: Account) -> None:
    owners = accounts.count_owners(transaction, place.account_id)
    if owners == 1 and accounts.membership(transaction, place.account_id, who.account_id) == OWNER:
        raise Refused(f"{who.name} is the last owner of {place.name}; make another one first")
