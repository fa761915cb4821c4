"""Users, organisations and teams over REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blobd.registry.catalog import sources
from blobd.registry.catalog.accounts import MEMBER, ORGANISATION, OWNER, USER, Account
from blobd.registry.errors import NotFound
from blobd.registry.http.rest.operation import Call, Field, Kind, Operation
from blobd.registry.http.rest.owners import OwnerShapes
from blobd.registry.identity import accounts, teams
from blobd.registry.identity.rights import administers, belongs, owns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.registry.http.rest.context import RestContext

EVERYBODY = Account(0, "", USER, is_administrator=True, created_at=0.0, disabled_at=None)
"""The caller when authentication is off."""
NAME = Field("A name.", required=True, most=100)


class AccountCalls:
    """Handlers. Users are the administrator's; organisations and teams their owners'."""

    def __init__(self, context: RestContext) -> None:
        self._context = context

    def operations(self) -> Iterator[Operation]:
        """Yield all operations."""
        yield Operation("getOwnAccount", "GET", "/user", "Get the caller", self.own, "Own")
        yield Operation(
            "getAccount", "GET", "/users/{user}", "Get a user or organisation", self.get, "Account"
        )
        yield Operation(
            "getOrganisation",
            "GET",
            "/orgs/{organisation}",
            "Get an organisation",
            self.get_organisation,
            "Organisation",
        )
        yield Operation("listUsers", "GET", "/users", "List users", self.list_users, "AccountList")
        yield Operation(
            "addUser",
            "POST",
            "/users",
            "Make a user",
            self.add_user,
            body={"name": NAME, "administrator": Field("It may everything.", Kind.BOOLEAN)},
        )
        yield Operation(
            "disableUser", "POST", "/users/{user}/disable", "Shut a user out", self.disable
        )
        yield Operation(
            "enableUser", "POST", "/users/{user}/enable", "Let a user in again", self.enable
        )
        yield Operation(
            "listOrganisations",
            "GET",
            "/orgs",
            "List organisations",
            self.list_organisations,
            "OrganisationList",
        )
        yield Operation(
            "addOrganisation",
            "POST",
            "/orgs",
            "Make an organisation",
            self.add_organisation,
            body={"name": NAME, "owner": Field("The user who owns it.", required=True, most=100)},
        )
        yield Operation(
            "changeOrganisation",
            "PATCH",
            "/orgs/{organisation}",
            "Say whether new packages inherit access from their source repository",
            self.change_organisation,
            "Organisation",
            body={
                "packages_inherit_access": Field(
                    "Whether they do; what is there stays as it is.", Kind.BOOLEAN, required=True
                )
            },
        )
        member = "/orgs/{organisation}/members/{user}"
        yield Operation(
            "listMembers",
            "GET",
            "/orgs/{organisation}/members",
            "List the members of an organisation",
            self.list_members,
            "MemberList",
        )
        yield Operation(
            "setMember",
            "PUT",
            member,
            "Let a user belong to an organisation",
            self.set_member,
            body={"role": Field("As what.", choices=(OWNER, MEMBER), required=True)},
        )
        yield Operation(
            "removeMember", "DELETE", member, "Let a user belong no longer", self.remove_member
        )
        yield from self._of_teams()

    def _of_teams(self) -> Iterator[Operation]:
        at = "/orgs/{organisation}/teams"
        member = f"{at}/{{team}}/members/{{user}}"
        yield Operation("listTeams", "GET", at, "List teams", self.list_teams, "TeamList")
        yield Operation("addTeam", "POST", at, "Make a team", self.add_team, body={"name": NAME})
        yield Operation("removeTeam", "DELETE", f"{at}/{{team}}", "Remove a team", self.remove_team)
        yield Operation(
            "listTeamMembers",
            "GET",
            f"{at}/{{team}}/members",
            "List the members of a team",
            self.list_team_members,
            "TeamMemberList",
        )
        yield Operation(
            "addTeamMember", "PUT", member, "Put a member into a team", self.add_team_member
        )
        yield Operation(
            "removeTeamMember", "DELETE", member, "Take one out", self.remove_team_member
        )

    async def own(self, call: Call) -> dict[str, Any]:
        """The caller's account; for a workflow's token, the account that vouched for it."""
        subject = call.caller.subject
        account = await accounts.find_account(call.catalog, subject.name) or EVERYBODY
        public, others = await _count_sources(call, account)
        return {
            **OwnerShapes(call.base_url).private(
                account, public_sources=public, private_sources=others
            ),
            "administrator": subject.is_administrator,
            "scopes": sorted(subject.scopes),
            "workflow": None if subject.workflow is None else subject.workflow.kind,
        }

    async def get(self, call: Call, user: str) -> dict[str, Any]:
        account = await accounts.find_account(call.catalog, user)
        if account is None:
            raise NotFound(USER, user)
        public, _ = await _count_sources(call, account)
        return OwnerShapes(call.base_url).public(account, public_sources=public)

    async def get_organisation(self, call: Call, organisation: str) -> dict[str, Any]:
        account = await accounts.find_account(call.catalog, organisation)
        if account is None or account.kind != ORGANISATION:
            raise NotFound(ORGANISATION, organisation)
        public, _ = await _count_sources(call, account)
        return OwnerShapes(call.base_url).organisation(account, public_sources=public)

    async def change_organisation(
        self, call: Call, organisation: str, *, packages_inherit_access: bool
    ) -> dict[str, Any]:
        await call.demand(owns(organisation))
        await accounts.set_packages_inherit(
            call.catalog, organisation, inherit=packages_inherit_access
        )
        said = "inherit" if packages_inherit_access else "do not inherit"
        self._context.note(call, "organisation", None, f"{organisation}: new packages {said}")
        return await self.get_organisation(call, organisation)

    async def list_users(self, call: Call) -> list[dict[str, Any]]:
        await call.demand(administers)
        found = await accounts.list_accounts(call.catalog, USER)
        return [OwnerShapes(call.base_url).listed(each) for each in found]

    async def add_user(self, call: Call, *, name: str, administrator: bool = False) -> None:
        await call.demand(administers)
        await accounts.add_user(call.catalog, name, is_administrator=administrator)
        self._context.note(call, "user", None, f"add {name}")

    async def disable(self, call: Call, user: str) -> None:
        await call.demand(administers)
        call.demands.act_alone()
        await accounts.disable_user(call.catalog, user)
        self._context.note(call, "user", None, f"disable {user}")

    async def enable(self, call: Call, user: str) -> None:
        await call.demand(administers)
        await accounts.enable_user(call.catalog, user)
        self._context.note(call, "user", None, f"enable {user}")

    async def list_organisations(self, call: Call) -> list[dict[str, Any]]:
        await call.demand(administers)
        found = await accounts.list_accounts(call.catalog, ORGANISATION)
        return [OwnerShapes(call.base_url).listed(each) for each in found]

    async def add_organisation(self, call: Call, *, name: str, owner: str) -> None:
        await call.demand(administers)
        await accounts.add_organisation(call.catalog, name, owner=owner)
        self._context.note(call, "organisation", None, f"add {name} of {owner}")

    async def list_members(self, call: Call, organisation: str) -> list[dict[str, Any]]:
        await call.demand(belongs(organisation))
        found = await accounts.list_members(call.catalog, organisation)
        shapes = OwnerShapes(call.base_url)
        return [
            {**shapes.simple(member.name, member.account_id, USER), "role": member.role}
            for member in found
        ]

    async def set_member(self, call: Call, organisation: str, user: str, *, role: str) -> None:
        await call.demand(owns(organisation))
        await accounts.set_member(call.catalog, organisation, user, role)
        self._context.note(call, "organisation", None, f"{organisation} {user} {role}")

    async def remove_member(self, call: Call, organisation: str, user: str) -> None:
        await call.demand(owns(organisation))
        await accounts.remove_member(call.catalog, organisation, user)
        self._context.note(call, "organisation", None, f"{organisation} {user} none")

    async def list_teams(self, call: Call, organisation: str) -> list[dict[str, Any]]:
        await call.demand(belongs(organisation))
        found = await teams.list_teams(call.catalog, organisation)
        return [OwnerShapes(call.base_url).team(organisation, team) for team in found]

    async def add_team(self, call: Call, organisation: str, *, name: str) -> None:
        await call.demand(owns(organisation))
        await teams.add_team(call.catalog, organisation, name)
        self._context.note(call, "team", None, f"add {organisation}/{name}")

    async def remove_team(self, call: Call, organisation: str, team: str) -> None:
        await call.demand(owns(organisation))
        await teams.remove_team(call.catalog, organisation, team)
        self._context.note(call, "team", None, f"remove {organisation}/{team}")

    async def list_team_members(
        self, call: Call, organisation: str, team: str
    ) -> list[dict[str, Any]]:
        await call.demand(belongs(organisation))
        found = await teams.list_team_members(call.catalog, organisation, team)
        shapes = OwnerShapes(call.base_url)
        return [
            {**shapes.simple(member.name, member.account_id, USER), "name": member.name}
            for member in found
        ]

    async def add_team_member(self, call: Call, organisation: str, team: str, user: str) -> None:
        await call.demand(owns(organisation))
        await teams.add_team_member(call.catalog, organisation, team, user)
        self._context.note(call, "team", None, f"{organisation}/{team} {user} joins")

    async def remove_team_member(self, call: Call, organisation: str, team: str, user: str) -> None:
        await call.demand(owns(organisation))
        await teams.remove_team_member(call.catalog, organisation, team, user)
        self._context.note(call, "team", None, f"{organisation}/{team} {user} leaves")


async def _count_sources(call: Call, account: Account) -> tuple[int, int]:
    return await call.catalog.read(
        lambda transaction: sources.count_sources(transaction, account.account_id)
    )
