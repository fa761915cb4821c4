"""Every operation of the API that changes something, as somebody may call it: a table, and a world
in which each of its calls would be done.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sqlalchemy import delete, insert, select, update

from blobd.registry.catalog.tables import accounts, memberships, metadata, package_roles, tokens
from tests.registry.access.test_rest import Api
from tests.registry.access.test_rights import given
from tests.registry.identity.worlds import token

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Executable

    from blobd.database import Catalog, Transaction
    from tests.registry.access.conftest import Town

_BESIDE = frozenset({"audit", "daemons", "index_pulls", "leases", "pins", "store"})
"""Tables that a daemon writes by itself, and the audit."""


@dataclass(frozen=True, slots=True)
class Change:
    """A call: what its path names, and what its body says."""

    places: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    by_role: bool = True
    """Whether a role lets the caller do it, and not who it is."""

    def path(self, template: str) -> str:
        """Return the path, from its template in the OpenAPI document."""
        return template.format(**{key: quote(value, safe="") for key, value in self.places.items()})


@dataclass(frozen=True, slots=True)
class Loss:
    """What takes a right away, and what gives it back."""

    ends: Sequence[Executable]
    gives_back: Sequence[Executable]
    status: frozenset[int]


class World:
    """Mia is an administrator, the owner of an organisation, and an admin of a user's package."""

    def __init__(self, town: Town) -> None:
        self.town = town
        mark = secrets.token_hex(4)
        self.mia, self.zed, self.yan, self.off = (f"{who}{mark}" for who in ("m", "z", "y", "x"))
        self.organisation = f"o{mark}"
        self.secret = f"blobd_pat_{self.mia}"
        self.other_token = f"{int(mark, 16):016x}"
        admin = Api(town.admin())
        for name in (self.mia, self.zed, self.yan, self.off):
            admin.do("POST", "/users", name=name)
        admin.do("POST", f"/users/{self.off}/disable")
        admin.do("POST", "/orgs", name=self.organisation, owner=self.mia)
        self.account_id = admin.get(f"/users/{self.mia}")["id"]
        zed_id = admin.get(f"/users/{self.zed}")["id"]
        town.change(
            insert(tokens).values(token(self.mia, self.account_id, self.secret)),
            insert(tokens).values(
                token(self.other_token, self.account_id, f"blobd_pat_o{self.mia}")
            ),
            insert(tokens).values(token(self.zed, zed_id, f"blobd_pat_{self.zed}")),
        )
        at = f"/orgs/{self.organisation}"
        mia = Api(town.person(self.mia))
        for who in (self.zed, self.yan):
            mia.do("PUT", f"{at}/members/{who}", role="member")
        mia.do("POST", f"{at}/teams", name="core")
        mia.do("PUT", f"{at}/teams/core/members/{self.zed}")
        for name in ("code", "other"):
            mia.do("POST", f"/repos/{self.organisation}", name=name, visibility="private")
        mia.do("PUT", f"/repos/{self.organisation}/code/roles/{self.zed}", role="read")
        self._packages: dict[str, tuple[str, int, int]] = {}
        for word, owner, maker in (
            ("Org", self.organisation, self.mia),
            ("User", self.zed, self.zed),
            ("Own", self.mia, self.mia),
        ):
            self._packages[word] = self._make(owner, maker)
        town.change(
            update(accounts).where(accounts.c.id == self.account_id).values(is_administrator=True),
            # what she made is hers as the owner too: let that be all that she has there
            delete(package_roles).where(package_roles.c.grantee_id == self.account_id),
            given(f"{self.zed}/app", self.account_id, "admin"),
        )

    def _make(self, owner: str, maker: str) -> tuple[str, int, int]:
        """Make a package with two versions and one that is deleted, and one that is deleted."""
        client = self.town.person(maker)
        api = Api(client)
        kind = "orgs" if owner == self.organisation else "users"
        at = f"/{kind}/{owner}/packages/container/app"
        for tag in ("gone", "old", "latest"):
            client.push_image(f"{owner}/app", tag, f"{owner} {tag}")
        ids = {
            version["metadata"]["container"]["tags"][0]: version["id"]
            for version in api.get(f"{at}/versions")
        }
        api.do("DELETE", f"{at}/versions/{ids['gone']}")
        if owner == self.zed:
            self.town.change(given(f"{owner}/app", self.account_id, "admin"))
        api = Api(self.town.person(self.mia))
        if owner != self.mia:
            api.do("PUT", f"{at}/access/roles/{self.yan}", role="read")
        else:
            api.do("PUT", f"{at}/access/roles/{self.zed}", role="read")
        api.do("PUT", f"{at}/repository", repository=f"{self.organisation}/code")
        grant = f"{at}/access/workflows/{self.organisation}%2Fcode/automation"
        api.do("PUT", grant, role="read")
        client.push_image(f"{owner}/dropped", "latest", f"{owner} dropped")
        Api(client).do("DELETE", f"/{kind}/{owner}/packages/container/dropped")
        return owner, ids["old"], ids["gone"]

    def changes(self) -> dict[str, Sequence[Change]]:
        """Return calls of every operation that changes something, by its operationId."""
        at = {"organisation": self.organisation}
        of = {"owner": self.organisation}
        code = {**of, "name": "code"}
        team = {**at, "team": "core"}
        found: dict[str, Sequence[Change]] = {
            "addUser": [Change(values={"name": "somebody", "administrator": False})],
            "disableUser": [Change({"user": self.zed})],
            "enableUser": [Change({"user": self.off})],
            "addOrganisation": [Change(values={"name": "something", "owner": self.zed})],
            "changeOrganisation": [Change(at, {"packages_inherit_access": False})],
            "setMember": [Change({**at, "user": self.zed}, {"role": "owner"})],
            "removeMember": [Change({**at, "user": self.zed})],
            "addTeam": [Change(at, {"name": "another"})],
            "removeTeam": [Change(team)],
            "addTeamMember": [Change({**team, "user": self.yan})],
            "removeTeamMember": [Change({**team, "user": self.zed})],
            "addSource": [
                Change(of, {"name": "new", "visibility": "public"}),
                Change({"owner": self.mia}, {"name": "new", "visibility": "public"}, by_role=False),
            ],
            "changeSource": [Change(code, {"visibility": "public"})],
            "removeSource": [Change(code)],
            "setSourceRole": [Change({**code, "grantee": self.yan}, {"role": "admin"})],
            "removeSourceRole": [Change({**code, "grantee": self.zed})],
            "issueWorkflowToken": [Change(code, {"kind": "automation"})],
            "createToken": [Change({}, {"scopes": ["read:packages"]}, by_role=False)],
            "revokeToken": [Change({"token_id": self.other_token}, by_role=False)],
        }
        for word in self._packages:
            found |= dict(self._of_packages(word))
        return found

    def _of_packages(self, word: str) -> Iterator[tuple[str, Sequence[Change]]]:
        owner, old, gone = self._packages[word]
        who = self.zed if word == "Own" else self.yan
        by_role = word != "Own"

        def change(
            values: Mapping[str, Any] | None = None, name: str = "app", **more: str
        ) -> Change:
            places = {"name": name, **more} | ({"owner": owner} if by_role else {})
            return Change(places, values or {}, by_role=by_role)

        source = f"{self.organisation}/code"
        yield (
            f"change{word}Package",
            [
                change({"visibility": "internal"}),
                change({"immutable_tags": True}),
                change({"sparse_indexes": True}),
            ],
        )
        yield f"set{word}AccessMode", [change({"inherits": True})]
        yield f"set{word}Role", [change({"role": "admin"}, grantee=who)]
        yield f"remove{word}Role", [change(grantee=who)]
        yield (
            f"set{word}Grant",
            [change({"role": "admin", "may_publish": True}, source=source, kind="automation")],
        )
        yield f"remove{word}Grant", [change(source=source, kind="automation")]
        yield f"link{word}Package", [change({"repository": f"{self.organisation}/other"})]
        yield f"unlink{word}Package", [change()]
        yield f"delete{word}Tag", [change(tag="old")]
        yield f"delete{word}Package", [change()]
        yield f"restore{word}Package", [change(name="dropped")]
        yield f"delete{word}Version", [change({"force": "true"}, version_id=str(old))]
        yield f"restore{word}Version", [change(version_id=str(gone))]

    def losses(self) -> dict[str, Loss]:
        """Return all ways to lose the right to a change."""
        me, mine = accounts.c.id == self.account_id, tokens.c.id == self.mia
        own_role = package_roles.c.grantee_id == self.account_id
        zeds = f"{self.zed}/app"
        organisation_id = (
            select(accounts.c.id).where(accounts.c.name == self.organisation).scalar_subquery()
        )
        return {
            "disabled": Loss(
                [update(accounts).where(me).values(disabled_at=time.time())],
                [update(accounts).where(me).values(disabled_at=None)],
                frozenset({401}),
            ),
            "revoked": Loss(
                [update(tokens).where(mine).values(revoked_at=time.time())],
                [update(tokens).where(mine).values(revoked_at=None)],
                frozenset({401}),
            ),
            "without a role": Loss(
                [
                    delete(memberships).where(memberships.c.account_id == self.account_id),
                    delete(package_roles).where(own_role),
                    update(accounts).where(me).values(is_administrator=False),
                ],
                [
                    insert(memberships).values(
                        organisation_id=organisation_id, account_id=self.account_id, role="owner"
                    ),
                    given(zeds, self.account_id, "admin"),
                    update(accounts).where(me).values(is_administrator=True),
                ],
                frozenset({403, 404}),
            ),
        }


def snapshot(transaction: Transaction) -> dict[str, list[str]]:
    """Return all rows in which somebody's change could be seen."""
    found = {}
    for table in metadata.sorted_tables:
        if table.name not in _BESIDE:
            columns = [column for column in table.columns if column.name != "last_used_at"]
            rows = transaction.execute(select(*columns))
            found[table.name] = sorted(repr(tuple(row)) for row in rows)
    return found


def rows_of(town: Town) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}

    async def look(catalog: Catalog) -> None:
        found.update(await catalog.read(snapshot))

    town.with_catalog(look)
    return found


async def execute(catalog: Catalog, statements: Sequence[Executable]) -> None:
    """Run statements in one transaction."""

    def run(transaction: Transaction) -> None:
        for statement in statements:
            transaction.execute(statement)

    await catalog.write(run)
