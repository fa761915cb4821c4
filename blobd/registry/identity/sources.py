"""Source repositories: named records that packages are linked to, with roles of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.http.errors import RequestInvalid
from blobd.registry.auth.roles import Visibility
from blobd.registry.catalog import accounts, sources
from blobd.registry.catalog.roles import SOURCE_ROLES
from blobd.registry.errors import AlreadyExists, NotFound
from blobd.registry.identity.principals import change_role
from blobd.registry.labels import parse_host
from blobd.registry.names import is_account, parse_account

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.roles import Role
    from blobd.registry.catalog.roles import GivenRole
    from blobd.registry.catalog.sources import Source


async def add_source(
    catalog: Catalog,
    owner: str,
    name: str,
    visibility: Visibility = Visibility.PRIVATE,
    *,
    host: str = "",
) -> None:
    """Make a source repository of a user or an organisation.

    `host` is where labels say that it is, as github.com; empty: at one of the registry's own
    source hosts. Raises AccountInvalid, RequestInvalid, NotFound, AlreadyExists.
    """
    parse_account(name)
    at = _checked_host(host)
    now = catalog.now()

    def add(transaction: Transaction) -> None:
        account = accounts.find_account(transaction, owner) if is_account(owner) else None
        if account is None:
            raise NotFound("account", owner)
        if not sources.insert_source(
            transaction, account.account_id, name, str(visibility), host=at, now=now
        ):
            raise AlreadyExists("source repository", f"{owner}/{name}")

    await catalog.write(add)


async def list_sources(catalog: Catalog, owner: str | None = None) -> list[Source]:
    """Return the source repositories of an account, or all; by name."""
    if owner is not None and not is_account(owner):
        return []
    return await catalog.read(lambda transaction: sources.list_sources(transaction, owner))


async def change_source(
    catalog: Catalog,
    full_name: str,
    *,
    visibility: Visibility | None = None,
    host: str | None = None,
    writers_link: bool | None = None,
) -> None:
    """Change what is not None.

    `visibility`: who can read it without a role; packages are not affected. `host`: by which
    labels name it, empty: the registry's own. `writers_link`: whether labels of writers link
    packages to it, and not only of admins. Raises NotFound, RequestInvalid.
    """
    values: dict[str, object] = {}
    if visibility is not None:
        values["visibility"] = str(visibility)
    if host is not None:
        values["host"] = _checked_host(host)
    if writers_link is not None:
        values["writers_link"] = writers_link

    def change(transaction: Transaction) -> None:
        source = known_source(transaction, full_name)
        if values:
            sources.change_source(transaction, source.source_id, **values)

    await catalog.write(change)


def _checked_host(text: str) -> str:
    host = parse_host(text) if text else ""
    if host is None:
        raise RequestInvalid(f"{text[:100]!r} is no host; write it without scheme and port")
    return host


async def remove_source(catalog: Catalog, full_name: str) -> None:
    """Remove it: its packages stay, unlinked; its tokens and grants are gone. Raises NotFound."""

    def remove(transaction: Transaction) -> None:
        sources.delete_source(transaction, known_source(transaction, full_name).source_id)

    await catalog.write(remove)


async def set_source_role(catalog: Catalog, full_name: str, grantee: str, role: Role) -> None:
    """Give a user or a team (ORGANISATION/TEAM) a role; NONE takes it away. Raises NotFound."""

    def change(transaction: Transaction) -> None:
        source_id = known_source(transaction, full_name).source_id
        change_role(transaction, SOURCE_ROLES, source_id, grantee, role)

    await catalog.write(change)


async def list_source_roles(catalog: Catalog, full_name: str) -> list[GivenRole]:
    """Return the roles that were given, by kind and name. Raises NotFound."""

    def find(transaction: Transaction) -> list[GivenRole]:
        source_id = known_source(transaction, full_name).source_id
        return SOURCE_ROLES.list(transaction, source_id)

    return await catalog.read(find)


def known_source(transaction: Transaction, full_name: str) -> Source:
    """Return the source repository `OWNER/NAME`. Raises NotFound."""
    owner, _, name = full_name.partition("/")
    named = is_account(owner) and is_account(name)
    found = sources.find_source(transaction, owner, name) if named else None
    if found is None:
        raise NotFound("source repository", full_name)
    return found
