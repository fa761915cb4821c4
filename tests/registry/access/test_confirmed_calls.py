"""Rights that end before the act: every operation that changes something asks in its transaction.

The operations come from the API's own table, so that one without its row in `changes.py`, or that
confirms nothing, fails here.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import make_mocked_request

from blobd.backends.memory import Memory
from blobd.errors import BlobdError
from blobd.http.answers import add_answers, answer_for
from blobd.http.origin import Origins
from blobd.metrics import Metrics
from blobd.registry.catalog.auth_queries import AuthQueries
from blobd.registry.http import account_pages, owner_settings, package_settings
from blobd.registry.http.answers import ANSWERS
from blobd.registry.http.package_events import PackageEvents
from blobd.registry.http.page_actions import Actions
from blobd.registry.http.rest.context import RestContext
from blobd.registry.http.rest.routes import rest_operations
from blobd.registry.http.visits import Visit
from blobd.registry.identity.authenticator import Caller, subject_of
from blobd.registry.identity.confirm import ConfirmedCatalog
from blobd.registry.packages.activity import ActivityRecorder
from blobd.registry.pages.view_models import Around
from blobd.store import BlobStore
from blobd.threads import Threads
from tests.registry.access.changes import World, execute, rows_of, snapshot
from tests.registry.access.person import FORM, Forms, Person
from tests.registry.access.test_long_bodies import half_sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blobd.database import Catalog, Transaction
    from blobd.registry.http.rest.operation import Operation
    from tests.registry.access.changes import Change, Loss
    from tests.registry.access.conftest import Town
    from tests.registry.protocol import Answer

T = TypeVar("T")

LOSSES = ("disabled", "revoked", "without a role")
_JSON = "application/json"


@pytest.fixture(scope="module")
def world(town: Town) -> World:
    return World(town)


# The race between the check and the act


class _Undone(Exception):
    """A change would have been made."""


class RacedCatalog(ConfirmedCatalog):
    """Commits a loss of rights at the last moment before each transaction that changes something.

    The transaction itself is undone where it would have been committed.
    """

    def __init__(self, catalog: Catalog, loss: Loss | None) -> None:
        super().__init__(catalog, lambda _transaction: None)
        self._loss = loss

    async def write(
        self, work: Callable[[Transaction], T], *, alone: bool = False, synced: bool = True
    ) -> T:
        def undone(transaction: Transaction) -> T:
            work(transaction)
            raise _Undone

        if self._loss is not None:
            await execute(self._catalog, self._loss.ends)
        try:
            return await self._catalog.write(undone, alone=alone, synced=synced)
        finally:
            if self._loss is not None:
                await execute(self._catalog, self._loss.gives_back)


def operations_on(catalog: Catalog, threads: Threads, origins: Origins) -> list[Operation]:
    work = PackageEvents(
        catalog,
        BlobStore(Memory(), Metrics()),
        threads,
        trash_retention_s=86_400.0,
        activity=ActivityRecorder(catalog),
        origins=origins,
    )
    return rest_operations(
        RestContext(catalog, work), trash_retention_s=86_400.0, allow_unpublish=True
    )


async def outcome(actions: Actions, visit: Visit, name: str, change: Change) -> str:
    """Return the class of what a call raises."""
    try:
        await actions.run(visit, name, change.places, **change.values)
    except (_Undone, BlobdError) as error:
        return type(error).__name__ if isinstance(error, _Undone) else str(answer_for(error).status)
    return "done"


def race(town: Town, world: World, name: str | None) -> dict[str, str]:
    """Make every change, its right lost between check and act; return how each came out."""
    add_answers(ANSWERS)
    loss = None if name is None else world.losses()[name]
    outcomes: dict[str, str] = {}

    async def run(catalog: Catalog) -> None:
        facts = await AuthQueries(catalog.reader).token_by_id(world.mia)
        assert facts is not None
        origins = Origins(public_url="", trusted_proxies=[])
        request = make_mocked_request("POST", "/", headers={"Host": "here"})
        visit = Visit(request, Caller(subject_of(facts)), Around("here"))
        threads = Threads(1, "test-confirmed")
        try:
            operations = operations_on(catalog, threads, origins)
            actions = Actions(RacedCatalog(catalog, loss), operations, origins)
            before = await catalog.read(snapshot)
            changes = world.changes()
            for operation in operations:
                if operation.method == "GET":
                    continue
                assert operation.name in changes, f"{operation.name} has no row in changes.py"
                for change in changes[operation.name]:
                    if loss is None or change.by_role or 401 in loss.status:
                        key = f"{operation.name} {dict(change.places)} {dict(change.values)}"
                        outcomes[key] = await outcome(actions, visit, operation.name, change)
            assert await catalog.read(snapshot) == before
        finally:
            threads.close()

    town.with_catalog(run)
    return outcomes


def test_every_change_of_the_table_would_be_made(town: Town, world: World) -> None:
    """What the tests below are refused is nothing that would fail anyway."""
    outcomes = race(town, world, None)
    assert len(outcomes) > 60
    assert {call: how for call, how in outcomes.items() if how != "_Undone"} == {}


@pytest.mark.parametrize("name", LOSSES)
def test_a_right_that_ends_between_check_and_act_is_not_there(
    town: Town, world: World, name: str
) -> None:
    refused = {str(status) for status in world.losses()[name].status}
    outcomes = race(town, world, name)
    assert len(outcomes) > 40
    assert {call: how for call, how in outcomes.items() if how not in refused} == {}


# Bodies that dawdle


def with_bodies(town: Town, world: World) -> Iterator[tuple[Change, tuple[str, str, bytes]]]:
    """Yield every change that has a body: its method, its path and the body."""
    document = town.client().get("/api/openapi.json").json()
    changes = world.changes()
    for template, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in {"get", "head", "parameters"} or "requestBody" not in operation:
                continue
            for change in changes[operation["operationId"]]:
                body = json.dumps(change.values).encode()
                yield change, (method.upper(), f"/api{change.path(template)}", body)


def told(answer: Answer) -> tuple[int, bytes, str | None]:
    return answer.status, answer.body, answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("name", LOSSES)
def test_a_call_whose_body_dawdles_is_refused_as_a_fresh_one(
    town: Town, world: World, name: str
) -> None:
    loss, client = world.losses()[name], town.person(world.mia)
    before = rows_of(town)
    with ExitStack() as stack:
        sent = [
            (call, stack.enter_context(half_sent(client, *call, Content_Type=_JSON)))
            for change, call in with_bodies(town, world)
            if change.by_role or 401 in loss.status
        ]
        assert len(sent) > 20
        town.change(*loss.ends)
        try:
            for (method, path, body), finish in sent:
                answer = finish()
                assert answer.status in loss.status, (method, path, answer.body)
                fresh = client.send(method, path, body, {"Content-Type": _JSON})
                assert told(answer) == told(fresh), path
        finally:
            town.change(*loss.gives_back)
    assert rows_of(town) == before


def forms_of(world: World) -> Iterator[tuple[str, dict[str, str | list[str]]]]:
    """Yield every form that changes something: where it is sent to, and its fields."""
    changes = world.changes()
    owner = f"/packages/{world.organisation}/-/settings"
    package = f"{world.organisation}/app"
    for at, table in (
        (owner, owner_settings._FORMS),
        (f"/packages/{package}/-/settings", package_settings._FORMS),
        *((f"/settings/{which}", forms) for which, forms in account_pages._FORMS.items()),
    ):
        for what, (operation, places, fields) in table.items():
            change = next(
                each
                for each in changes[operation.format("Org")]
                if each.values.keys() >= set(fields)
            )
            said = {place: change.places[place] for place in places}
            said |= {field: _typed(change.values[field]) for field in fields}
            yield at, {"do": what, "confirm": package, **said}
    yield "/settings/tokens", dict(changes["revokeToken"][0].places)
    yield "/settings/tokens/new", {"scopes": "read:packages", "note": "", "days": "30"}


def _typed(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", LOSSES)
def test_a_form_whose_body_dawdles_is_refused_as_a_fresh_one(
    town: Town, world: World, name: str
) -> None:
    loss, person, client = world.losses()[name], Person(town), town.client()
    person.sign_in(world.mia)
    cookie = "; ".join(f"{key}={value}" for key, value in person.cookies.items())
    person.open("/settings/tokens")
    csrf = next(form.hidden["csrf"] for form in Forms(person.page).found if "csrf" in form.hidden)
    headers = {"Cookie": cookie, "Content-Type": FORM}
    before = rows_of(town)
    with ExitStack() as stack:
        sent = []
        for at, fields in forms_of(world):
            if at.startswith("/settings/tokens") and 401 not in loss.status:
                continue
            body = urlencode({**fields, "csrf": csrf}).encode()
            request = half_sent(client, "POST", at, body, Cookie=cookie, Content_Type=FORM)
            sent.append((at, body, stack.enter_context(request)))
        assert len(sent) >= 20
        town.change(*loss.ends)
        try:
            for at, body, finish in sent:
                answer = finish()
                assert answer.status in {401, 403, 404}, (at, body, answer.status)
                assert told(answer) == told(client.send("POST", at, body, headers)), (at, body)
        finally:
            town.change(*loss.gives_back)
    assert rows_of(town) == before
