"""The authorizer: which answer each caller gets, and that uploads outlive their tokens (item 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, insert, update

from blobd.http.errors import Unauthenticated
from blobd.registry.auth.roles import Action, Role
from blobd.registry.catalog.tables import accounts, package_grants, package_roles, tokens
from blobd.registry.errors import (
    BearerInvalid,
    LoginNeeded,
    NameUnknown,
    PermissionDenied,
    ScopeMissing,
    TokenRefused,
    WorkflowNotGranted,
)
from blobd.registry.identity.authorizer import Authorizer, RequestCredentials
from blobd.registry.names import RepositoryName
from tests.registry.identity.worlds import ACME, BOB, EVE, add_package

if TYPE_CHECKING:
    from sqlalchemy import Executable

    from blobd.database import Catalog
    from tests.registry.acts import Clock
    from tests.registry.identity.conftest import Desk

APP, NONE = RepositoryName("acme/app"), RepositoryName("acme/none")
UPLOAD = "0123456789abcdef"


def credentials(header: str | None) -> RequestCredentials:
    return RequestCredentials(header, "127.0.0.1")


def show(name: str) -> RequestCredentials:
    """Return a request with a personal access token."""
    return credentials(f"Bearer blobd_pat_{name}")


async def change(catalog: Catalog, statement: Executable) -> None:
    await catalog.write(lambda transaction: transaction.execute(statement))


def role(person: int, word: str) -> Executable:
    row = {"repository_id": 1, "grantee_kind": "user", "grantee_id": person, "role": word}
    return insert(package_roles).values(row)


async def test_who_may_not_read_cannot_tell_it_from_nothing(desk: Desk, catalog: Catalog) -> None:
    await add_package(catalog, 1, ACME, "app")
    for action in Action:
        told = []
        for name in (APP, NONE):
            with pytest.raises(NameUnknown) as caught:
                await desk.authorizer.admit(show("eve"), name, action)
            told.append(str(caught.value).replace(name.partition("/")[2], ""))
        assert told[0] == told[1]


async def test_nobody_known_is_asked_to_log_in_everywhere(desk: Desk, catalog: Catalog) -> None:
    await add_package(catalog, 1, ACME, "app")
    for name in (APP, NONE):
        for action, scope in (
            (Action.READ, f"repository:{name}:pull"),
            (Action.WRITE, f"repository:{name}:pull,push"),
            (Action.DELETE, f"repository:{name}:delete"),
        ):
            with pytest.raises(LoginNeeded) as caught:
                await desk.authorizer.admit(credentials(None), name, action)
            assert (caught.value.scope, caught.value.problem) == (scope, "")


async def test_a_public_package_is_read_by_everybody_with_any_credential_that_counts(
    desk: Desk, catalog: Catalog
) -> None:
    await add_package(catalog, 1, ACME, "app", visibility="public")
    for header in (None, "Bearer blobd_pat_eve", await desk.bearer("eve"), await desk.bearer("")):
        access = await desk.authorizer.admit(credentials(header), APP, Action.READ)
        assert access.role is Role.READ
    with pytest.raises(TokenRefused):
        await desk.authorizer.admit(show("gone"), APP, Action.READ)


async def test_a_wrong_credential_is_told_what_to_ask_for(desk: Desk) -> None:
    with pytest.raises(TokenRefused) as caught:
        await desk.authorizer.admit(show("gone"), APP, Action.READ)
    assert (caught.value.scope, caught.value.problem) == (f"repository:{APP}:pull", "invalid_token")


async def test_who_may_read_is_told_which_role_and_scope_it_takes(
    desk: Desk, catalog: Catalog
) -> None:
    await add_package(catalog, 1, ACME, "app")
    await change(catalog, role(EVE, "read"))
    assert (await desk.authorizer.admit(show("eve"), APP, Action.READ)).role is Role.READ
    for action in (Action.WRITE, Action.DELETE):
        with pytest.raises(PermissionDenied) as caught:
            await desk.authorizer.admit(show("eve"), APP, action)
        assert str(action.role) in str(caught.value)
        assert action.scope in str(caught.value)


async def test_who_did_not_ask_for_it_is_told_to(desk: Desk, catalog: Catalog) -> None:
    await add_package(catalog, 1, ACME, "app")
    with pytest.raises(ScopeMissing) as caught:
        await desk.authorizer.admit(
            credentials(await desk.bearer("ada", f"repository:{APP}:pull")), APP, Action.WRITE
        )
    assert caught.value.problem == "insufficient_scope"
    assert caught.value.scope == f"repository:{APP}:pull,push"


async def test_a_right_given_counts_at_once_and_one_taken_away_within_a_second(
    desk: Desk, catalog: Catalog, clock: Clock
) -> None:
    await add_package(catalog, 1, ACME, "app")
    with pytest.raises(NameUnknown):
        await desk.authorizer.admit(show("eve"), APP, Action.READ)
    await change(catalog, role(EVE, "read"))
    await desk.authorizer.admit(show("eve"), APP, Action.READ)
    await change(catalog, delete(package_roles))
    clock.advance(1.01)
    with pytest.raises(NameUnknown):
        await desk.authorizer.admit(show("eve"), APP, Action.READ)


async def test_a_workflow_pushes_what_is_new_or_granted_and_nothing_else(
    desk: Desk, catalog: Catalog
) -> None:
    await add_package(catalog, 1, ACME, "app")
    workflow = credentials("Bearer blobd_wft_w")
    access = await desk.authorizer.admit(workflow, NONE, Action.WRITE)
    assert not access.exists
    with pytest.raises(WorkflowNotGranted):
        await desk.authorizer.admit(workflow, APP, Action.WRITE)
    grant = {"repository_id": 1, "source_id": 1, "kind": "environment", "role": "write"}
    await change(catalog, insert(package_grants).values(grant))
    with pytest.raises(WorkflowNotGranted):  # the other kind
        await desk.authorizer.admit(workflow, APP, Action.WRITE)
    await change(catalog, update(package_grants).values(kind="automation"))
    assert (await desk.authorizer.admit(workflow, APP, Action.WRITE)).role is Role.WRITE


async def test_an_upload_outlives_its_token_but_not_its_person(
    desk: Desk, catalog: Catalog, clock: Clock
) -> None:
    await add_package(catalog, 1, ACME, "app")
    await change(catalog, role(BOB, "write"))
    header = await desk.bearer("soon", f"repository:{APP}:pull,push")
    await desk.authorizer.admit_upload(credentials(header), APP, UPLOAD, None)
    secret = (await desk.secrets.maker(APP, "soon")).make(UPLOAD)
    clock.advance(400)  # both the bearer token and the token behind it are over
    for shown in (header, None, "Bearer blobd_pat_soon"):
        with pytest.raises(Unauthenticated):
            await desk.authorizer.admit_upload(credentials(shown), APP, UPLOAD, None)
        access = await desk.authorizer.admit_upload(credentials(shown), APP, UPLOAD, secret)
        assert access.subject.account_id == BOB
    await change(catalog, delete(package_roles))
    with pytest.raises(NameUnknown):
        await desk.authorizer.admit_upload(credentials(None), APP, UPLOAD, secret)
    await change(catalog, role(BOB, "write"))
    await change(catalog, update(tokens).values(revoked_at=clock()))
    with pytest.raises(TokenRefused, match="revoked"):
        await desk.authorizer.admit_upload(credentials(None), APP, UPLOAD, secret)
    await change(catalog, update(tokens).values(revoked_at=None))
    await change(catalog, update(accounts).values(disabled_at=clock()))
    with pytest.raises(TokenRefused, match="disabled"):
        await desk.authorizer.admit_upload(credentials(None), APP, UPLOAD, secret)


async def test_the_secret_of_an_upload_opens_nothing_else(desk: Desk, catalog: Catalog) -> None:
    await add_package(catalog, 1, ACME, "app")
    await add_package(catalog, 2, ACME, "none")
    secret = (await desk.secrets.maker(APP, "ada")).make(UPLOAD)
    token_id, _, code = secret.partition(".")
    wrong = (f"bob.{code}", f"{token_id}.", f"{token_id}.{code[:-1]}", "", "…", f"{secret}x")
    for repository, upload, shown in (
        (NONE, UPLOAD, secret),
        (APP, "another", secret),
        *((APP, UPLOAD, each) for each in wrong),
    ):
        with pytest.raises(LoginNeeded):
            await desk.authorizer.admit_upload(credentials(None), repository, upload, shown)
    # nor does it help who is somebody else, or shows a credential that never counted
    with pytest.raises(NameUnknown):
        await desk.authorizer.admit_upload(show("eve"), APP, UPLOAD, secret)
    for header in ("Bearer blobd_pat_wrong", "Bearer a.b.c", "Basic ??"):
        with pytest.raises(Unauthenticated):
            await desk.authorizer.admit_upload(credentials(header), APP, UPLOAD, secret)
    access = await desk.authorizer.admit_upload(credentials(None), APP, UPLOAD, secret)
    assert access.subject.name == "ada"


async def test_without_identities_everybody_comes_in(catalog: Catalog) -> None:
    authorizer = Authorizer(catalog, None, None)
    for action in Action:
        access = await authorizer.admit(credentials("Basic nonsense"), APP, action)
        assert access.subject.is_administrator
    assert not (await authorizer.admit(credentials(None), APP, Action.WRITE)).exists


async def test_a_bearer_token_of_another_use_is_refused(desk: Desk) -> None:
    with pytest.raises(BearerInvalid):
        await desk.authorizer.admit(credentials("Bearer x.y.z"), APP, Action.READ)
