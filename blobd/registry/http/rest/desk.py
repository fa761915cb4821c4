"""What handlers of the API ask again and again: may they, which package is it, and noting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blobd.registry.auth.roles import Action, Role, Visibility
from blobd.registry.catalog import accounts, sources
from blobd.registry.catalog.accounts import ORGANISATION, OWNER
from blobd.registry.errors import Forbidden, NameInvalid, NameUnknown, Unknown
from blobd.registry.http.rest.shapes import Shapes
from blobd.registry.identity.accounts import find_account
from blobd.registry.names import RepositoryName, fold_account, parse_name
from blobd.registry.packages.manage import find_package

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from blobd.database import Catalog, Transaction
    from blobd.registry.catalog.packages import Package
    from blobd.registry.http.package_work import PackageWork
    from blobd.registry.http.rest.operation import Call
    from blobd.registry.identity.gate import Gate


class Desk:
    """One per process."""

    def __init__(self, catalog: Catalog, gate: Gate, work: PackageWork) -> None:
        self.catalog = catalog
        self._gate = gate
        self._work = work

    async def owner(self, call: Call, kind: str, owner: str) -> str:
        """Return the account that a path names. Raises Unknown."""
        name = owner or call.caller.subject.name
        found = await find_account(self.catalog, name)
        if found is None or (owner and found.kind != kind):
            raise Unknown(kind, name)
        return found.name

    async def package(
        self,
        call: Call,
        owner: str,
        name: str,
        action: Action,
        *,
        deleted: bool = False,
        empty: bool = False,
    ) -> Package:
        """Return a package that the caller may do this with; `empty`: be it without a version.

        Raises Unknown, alike for what is not there and what may not be read; Forbidden.
        """
        unknown = Unknown("package", f"{owner or call.caller.subject.name}/{name}")
        owner = fold_account(owner or call.caller.subject.name)
        try:
            repository = parse_name(f"{owner}/{name}")
            found = await find_package(self.catalog, owner, name, deleted=deleted)
            if deleted:
                repository = found.repository
            await self._gate.decide(call.caller, repository, action)
            if found.version_count == 0 and not (deleted or empty):
                raise unknown
        except (NameInvalid, NameUnknown, Unknown):
            raise unknown from None
        return found

    async def write_packages(self, call: Call, found: Sequence[Package]) -> list[dict[str, Any]]:
        """Return packages as JSON, with the source repositories that they are linked to."""
        ids = {package.source_id for package in found if package.source_id is not None}
        linked = {}
        if ids:
            linked = await self.catalog.read(
                lambda transaction: sources.get_sources(transaction, ids)
            )
        shapes = Shapes(call.base_url)
        return [
            shapes.package(
                package, None if package.source_id is None else linked.get(package.source_id)
            )
            for package in found
        ]

    async def write_pulls(self) -> None:
        """Have the downloads that this process has noted written."""
        await self._work.write_pulls()

    async def check_administrator(self, call: Call) -> None:
        """Raise Forbidden unless an administrator asks."""
        if not call.caller.subject.is_administrator:
            raise _needs("the registry", call, "administrator")

    async def check_owner(self, call: Call, organisation: str) -> None:
        """Raise Forbidden unless an owner of an organisation asks, or an administrator.

        Raises Unknown where there is no such organisation.
        """
        role = await self._membership(call, organisation)
        if role != OWNER and not call.caller.subject.is_administrator:
            raise _needs(organisation, call, OWNER)

    async def check_member(self, call: Call, organisation: str) -> None:
        """Raise Forbidden unless a member of an organisation asks, or an administrator."""
        role = await self._membership(call, organisation)
        if role is None and not call.caller.subject.is_administrator:
            raise _needs(organisation, call, "member")

    async def check_namespace(self, call: Call, owner: str) -> None:
        """Raise Forbidden unless the account is the caller's own, or an organisation it owns."""
        subject = call.caller.subject
        if subject.workflow is None and subject.name == fold_account(owner):
            return
        await self.check_owner(call, owner)

    async def check_source(self, call: Call, full_name: str, needed: Role = Role.ADMIN) -> None:
        """Raise Unknown unless the caller has a role in a source repository."""
        subject = call.caller.subject

        def role(transaction: Transaction) -> Role:
            owner, _, name = full_name.partition("/")
            source = sources.find_source(transaction, owner, name)
            if source is None:
                return Role.NONE
            if subject.is_administrator:
                return Role.ADMIN
            person = subject.person_id
            if person is None:
                return Role.NONE
            given = sources.role_of_person(transaction, source.source_id, person)
            is_open = source.visibility != Visibility.PRIVATE
            return max(given, Role.READ if is_open else Role.NONE)

        if await self.catalog.read(role) < needed:
            raise Unknown("source repository", full_name)

    def check_person(self, call: Call, scopes: Iterable[str]) -> None:
        """Raise Forbidden unless a person asks, with a token for at least these scopes."""
        subject = call.caller.subject
        missing = [scope for scope in scopes if not subject.has_scope(scope)]
        if subject.person_id is None or missing:
            raise Forbidden(
                "tokens", who=subject.name, role="owner", has="none", scope=" ".join(missing)
            )

    def note(
        self, call: Call, action: str, package: Package | str | None, detail: str | None = None
    ) -> None:
        """Note what the caller did."""
        name = package if isinstance(package, str) or package is None else _name(package)
        self._work.note(call.request, call.caller.subject, action, name, None, detail)

    async def _membership(self, call: Call, organisation: str) -> str | None:
        person = call.caller.subject.person_id

        def find(transaction: Transaction) -> str | None:
            place = accounts.find_account(transaction, organisation)
            if place is None or place.kind != ORGANISATION:
                raise Unknown(ORGANISATION, organisation)
            if person is None:
                return None
            return accounts.membership(transaction, place.account_id, person)

        return await self.catalog.read(find)


def _name(package: Package) -> str:
    return RepositoryName(f"{package.owner}/{package.name}")


def _needs(where: str, call: Call, role: str) -> Forbidden:
    return Forbidden(
        where, who=call.caller.subject.name, role=role, has="none", scope=Action.ADMINISTER.scope
    )
