"""What forms on pages do: the operations of the management API, as the signed-in user.

So a form asks for the same rights and scopes, is held to the same values and leaves the same lines
in the audit as the call that it stands for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.database import texts
from blobd.http.answers import UNEXPECTED, answer_for
from blobd.http.errors import RequestInvalid, Unauthenticated
from blobd.registry.errors import LoginNeeded
from blobd.registry.http.rest.dispatch import check_scope
from blobd.registry.http.rest.operation import Call, Changed, Done, Kind, Page
from blobd.registry.http.rest.validation import check_fields
from blobd.registry.identity.rights import Demands

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from blobd.database import Catalog
    from blobd.errors import BlobdError
    from blobd.http.origin import Origins
    from blobd.registry.http.rest.operation import Answer, Field, Operation
    from blobd.registry.http.visits import Visit

_LIST_MAX = 100
"""Entries of a list that are shown."""


class Actions:
    """Runs operations. One per process."""

    def __init__(self, catalog: Catalog, operations: Iterable[Operation], origins: Origins) -> None:
        self._catalog = catalog
        self._operations = {operation.name: operation for operation in operations}
        self._origins = origins

    async def run(
        self, visit: Visit, name: str, path: Mapping[str, str], /, **values: object
    ) -> Answer:
        """Return what an operation answers. `path` are the places of its path.

        Raises LoginNeeded, TokenTooNarrow, RequestInvalid, and what the operation raises.
        """
        operation = self._operations[name]
        if not visit.subject.signed_in:
            raise LoginNeeded("this page")
        check_scope(visit.subject, operation.needed_scope)
        if any(texts.problem(value) for value in path.values()):
            raise RequestInvalid("the form names something that cannot exist")
        fields = {**operation.query, **operation.body}
        read = {
            key: _read(value, fields[key]) if key in fields else value
            for key, value in values.items()
        }
        base_url = self._origins.base_url(visit.request)
        demands = Demands(self._catalog, visit.subject)
        call = Call(visit.request, visit.caller, demands, base_url, 1, _LIST_MAX)
        return await operation.handler(call, **path, **check_fields(read, fields))

    async def warnings(
        self, visit: Visit, name: str, path: Mapping[str, str], /, **values: object
    ) -> Sequence[str]:
        """Do what an operation does; return what the caller should know of it. Raises as `run`."""
        done = await self.run(visit, name, path, **values)
        return done.warnings if isinstance(done, Done | Changed) else ()

    async def shape(
        self, visit: Visit, name: str, path: Mapping[str, str], /
    ) -> Mapping[str, object] | None:
        """Return the one thing that an operation shows. Raises as `run`."""
        found = await self.run(visit, name, path)
        return found if isinstance(found, dict) else None

    async def entries(
        self, visit: Visit, name: str, path: Mapping[str, str], /, **values: object
    ) -> list[dict[str, object]]:
        """Return the first entries of a list. Raises as `run`."""
        found = await self.run(visit, name, path, **values)
        if isinstance(found, Page):
            return found.entries
        return found if isinstance(found, list) else []


def is_shown(error: BlobdError) -> bool:
    """Return whether an error is for the form that it came of to show."""
    return not isinstance(error, Unauthenticated) and answer_for(error) is not UNEXPECTED


def _read(value: object, field: Field) -> object:
    """Return a form's text as what a field holds; what it cannot be stays a text."""
    if field.kind is Kind.BOOLEAN:
        return {"yes": True, "no": False}.get(str(value), value)
    if field.kind is Kind.NUMBER and isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
