"""Source repositories, tokens and the audit over REST."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from blobd.http.errors import RequestInvalid
from blobd.registry.auth.roles import SCOPES, Action, Role, Visibility
from blobd.registry.catalog import audit
from blobd.registry.http.rest.manage import ROLE
from blobd.registry.http.rest.operation import Call, Field, Kind, Operation, Stretch
from blobd.registry.http.rest.owners import OwnerShapes
from blobd.registry.http.rest.times import moment
from blobd.registry.identity import sources, tokens
from blobd.registry.identity.rights import (
    administers,
    has_source_role,
    is_person,
    owns_namespace,
)
from blobd.registry.identity.sources import known_source
from blobd.registry.identity.tokens import (
    NOTE_MAX_CHARACTERS,
    PERSONAL_LIFETIME_MAX_S,
    WORKFLOW_KINDS,
    WORKFLOW_LIFETIME_MAX_S,
    WORKFLOW_LIFETIME_S,
)
from blobd.registry.names import fold_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.registry.http.rest.context import RestContext
    from blobd.registry.identity.tokens import MadeToken

_HOST = Field(
    "The host that labels name it by, as github.com; empty: the registry's own.", most=253
)
_AUDIT_MAX = 1000
"""Entries in one answer."""
_ENTRY_ID_MAX = 2**31 - 1
"""The largest that the column holds."""


class SourceCalls:
    """Handlers. A source repository is its namespace's; its roles and tokens its admins'."""

    def __init__(self, context: RestContext) -> None:
        self._context = context

    def operations(self) -> Iterator[Operation]:
        """Yield all operations."""
        at, one = "/repos/{owner}", "/repos/{owner}/{name}"
        yield Operation(
            "listSources", "GET", at, "List source repositories", self.list_sources, "SourceList"
        )
        yield Operation(
            "addSource",
            "POST",
            at,
            "Name a source repository",
            self.add,
            body={
                "name": Field("A name.", required=True, most=100),
                "visibility": Field(
                    "Who can read it.", choices=tuple(map(str, Visibility)), required=True
                ),
                "host": _HOST,
            },
        )
        yield Operation("getSource", "GET", one, "Get a source repository", self.get, "Repository")
        yield Operation(
            "changeSource",
            "PATCH",
            one,
            "Change its visibility, and which labels link packages to it",
            self.change,
            body={
                "visibility": Field("Who can read it.", choices=tuple(map(str, Visibility))),
                "host": _HOST,
                "writers_link": Field(
                    "Whether labels of writers link to it, and not only of admins.", Kind.BOOLEAN
                ),
            },
        )
        yield Operation("removeSource", "DELETE", one, "Forget it", self.remove)
        yield Operation(
            "listSourceRoles", "GET", f"{one}/roles", "Get access", self.roles, "RoleList"
        )
        role = f"{one}/roles/{{grantee}}"
        yield Operation(
            "setSourceRole",
            "PUT",
            role,
            "Give a user or a team (ORGANISATION%2FTEAM) a role",
            self.set_role,
            body={"role": ROLE},
        )
        yield Operation(
            "removeSourceRole",
            "DELETE",
            role,
            "Take a role away",
            partial(self.set_role, role="none"),
        )
        yield Operation(
            "issueWorkflowToken",
            "POST",
            f"{one}/tokens",
            "Issue a token for a workflow; for admins, and for the runner of its workflows",
            self.issue,
            "MadeToken",
            status=201,
            body={
                "kind": Field("For what.", choices=WORKFLOW_KINDS, required=True),
                "lifetime_s": Field("Seconds.", Kind.NUMBER, least=1, most=WORKFLOW_LIFETIME_MAX_S),
            },
        )
        yield from self._of_tokens()

    def _of_tokens(self) -> Iterator[Operation]:
        yield Operation(
            "listTokens", "GET", "/user/tokens", "List own tokens", self.list_tokens, "TokenList"
        )
        yield Operation(
            "createToken",
            "POST",
            "/user/tokens",
            "Make a token, which is shown once; never for more than the one that is used",
            self.create_token,
            "MadeToken",
            status=201,
            scope="",
            body={
                "scopes": Field("What for.", Kind.STRING_LIST, choices=SCOPES, required=True),
                "note": Field("What to know it by.", most=NOTE_MAX_CHARACTERS),
                "lifetime_s": Field(
                    "Seconds; left out: 90 days.",
                    Kind.NUMBER,
                    least=1,
                    most=PERSONAL_LIFETIME_MAX_S,
                ),
            },
        )
        yield Operation(
            "revokeToken", "DELETE", "/user/tokens/{token_id}", "End a token", self.revoke, scope=""
        )
        yield Operation(
            "listAudit",
            "GET",
            "/audit",
            "The audit, the newest first: all for the administrator, or of one package",
            self.audit,
            "AuditList",
            query={
                "package": Field("As OWNER/NAME.", most=255),
                "actor": Field("An account.", most=100),
                "before": Field("Entries before the one of this id.", most=18),
            },
        )

    async def list_sources(self, call: Call, owner: str) -> list[dict[str, Any]]:
        await call.demand(owns_namespace(owner))
        found = await sources.list_sources(call.catalog, owner)
        return [OwnerShapes(call.base_url).listed_repository(source) for source in found]

    async def get(self, call: Call, owner: str, name: str) -> dict[str, Any]:
        await call.demand(has_source_role(f"{owner}/{name}", Role.READ))
        found = await call.catalog.read(
            lambda transaction: known_source(transaction, f"{owner}/{name}")
        )
        return OwnerShapes(call.base_url).repository(found)

    async def add(
        self, call: Call, owner: str, *, name: str, visibility: str, host: str = ""
    ) -> None:
        await call.demand(owns_namespace(owner))
        await sources.add_source(call.catalog, owner, name, Visibility(visibility), host=host)
        self._context.note(call, "repository", None, f"add {owner}/{name}")

    async def change(
        self,
        call: Call,
        owner: str,
        name: str,
        *,
        visibility: str | None = None,
        host: str | None = None,
        writers_link: bool | None = None,
    ) -> None:
        full_name = f"{owner}/{name}"
        await call.demand(has_source_role(full_name, Role.ADMIN))
        await sources.change_source(
            call.catalog,
            full_name,
            visibility=None if visibility is None else Visibility(visibility),
            host=host,
            writers_link=writers_link,
        )
        changes = {"visibility": visibility, "host": host, "writers_link": writers_link}
        said = " ".join(f"{key}={value}" for key, value in changes.items() if value is not None)
        self._context.note(call, "repository", None, f"{full_name} {said}")

    async def remove(self, call: Call, owner: str, name: str) -> None:
        await call.demand(has_source_role(f"{owner}/{name}", Role.ADMIN))
        await sources.remove_source(call.catalog, f"{owner}/{name}")
        self._context.note(call, "repository", None, f"remove {owner}/{name}")

    async def roles(self, call: Call, owner: str, name: str) -> list[dict[str, Any]]:
        await call.demand(has_source_role(f"{owner}/{name}", Role.ADMIN))
        found = await sources.list_source_roles(call.catalog, f"{owner}/{name}")
        return [{"kind": one.kind, "name": one.name, "role": one.role} for one in found]

    async def set_role(self, call: Call, owner: str, name: str, grantee: str, *, role: str) -> None:
        await call.demand(has_source_role(f"{owner}/{name}", Role.ADMIN))
        given = Role.NONE if role == "none" else Role.parse(role)
        await sources.set_source_role(call.catalog, f"{owner}/{name}", grantee, given)
        self._context.note(call, "grant", None, f"{owner}/{name} {grantee} {role}")

    async def issue(
        self,
        call: Call,
        owner: str,
        name: str,
        *,
        kind: str,
        lifetime_s: float = WORKFLOW_LIFETIME_S,
    ) -> dict[str, Any]:
        await call.demand(has_source_role(f"{owner}/{name}", Role.ADMIN))
        made = await tokens.issue_workflow_token(
            call.catalog,
            f"{owner}/{name}",
            kind,
            voucher=call.caller.subject.name,
            lifetime_s=lifetime_s,
        )
        self._context.note(call, "token", None, f"{kind} {owner}/{name} {made.token_id}")
        return _made(made)

    async def list_tokens(self, call: Call) -> list[dict[str, Any]]:
        found = await tokens.list_tokens(call.catalog, call.caller.subject.name)
        return [
            {
                "id": token.token_id,
                "hint": token.hint,
                "note": token.note,
                "scopes": token.scopes.split(),
                "created_at": moment(token.created_at),
                "expires_at": _when(token.expires_at),
                "last_used_at": _when(token.last_used_at),
                "revoked_at": _when(token.revoked_at),
            }
            for token in found
        ]

    async def create_token(
        self,
        call: Call,
        *,
        scopes: tuple[str, ...],
        note: str = "",
        lifetime_s: float = 90 * 86_400.0,
    ) -> dict[str, Any]:
        await call.demand(is_person(scopes))
        made = await tokens.create_token(
            call.catalog,
            call.caller.subject.name,
            scopes=scopes,
            note=note,
            lifetime_s=lifetime_s,
        )
        self._context.note(call, "token", None, made.token_id)
        return _made(made)

    async def revoke(self, call: Call, token_id: str) -> None:
        await call.demand(is_person(()))
        call.demands.act_alone()
        subject = call.caller.subject
        owner = None if subject.is_administrator else subject.name
        await tokens.revoke_token(call.catalog, token_id, owner=owner)
        self._context.note(call, "token", None, f"revoke {token_id}")

    async def audit(
        self,
        call: Call,
        *,
        package: str | None = None,
        actor: str | None = None,
        before: str | None = None,
    ) -> Stretch:
        if package is None:
            await call.demand(administers)
        else:
            owner, _, name = package.partition("/")
            of = await self._context.package(
                call, owner or "-", name, Action.ADMINISTER, empty=True
            )
            package = of.repository
        found = await call.catalog.read(
            lambda transaction: audit.list_entries(
                transaction,
                package=package,
                actor=None if actor is None else fold_account(actor),
                before=_entry_id(before),
                limit=_AUDIT_MAX + 1,
            )
        )
        shown = found[:_AUDIT_MAX]
        entries = [
            {
                "id": number,
                "at": moment(entry.at),
                "actor": entry.actor,
                "action": entry.action,
                "package": entry.package,
                "digest": None if entry.digest is None else str(entry.digest),
                "detail": entry.detail,
                "token_id": entry.token_id,
                "address": entry.address,
            }
            for number, entry in shown
        ]
        rest = {"before": str(shown[-1][0])} if len(found) > len(shown) else None
        return Stretch(entries, rest)


def _entry_id(text: str | None) -> int | None:
    """Return the id that a query names. Raises RequestInvalid."""
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise RequestInvalid("before must be the id of an entry")
    return min(int(text), _ENTRY_ID_MAX)


def _made(made: MadeToken) -> dict[str, Any]:
    return {"id": made.token_id, "token": made.secret, "expires_at": _when(made.expires_at)}


def _when(at: float | None) -> str | None:
    return None if at is None else moment(at)
