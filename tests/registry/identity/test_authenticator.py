"""Who a credential speaks for, and that one which does not count is never taken for none."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from blobd.http.errors import CredentialMalformed
from blobd.registry.auth.attempts import BURST, REGAIN_S
from blobd.registry.auth.subjects import ANONYMOUS, WorkflowOf
from blobd.registry.catalog.tables import accounts, tokens
from blobd.registry.errors import BearerInvalid, TokenRefused, TooManyFailures
from tests.registry.identity.worlds import ADA, BOB

if TYPE_CHECKING:
    from blobd.database import Catalog
    from tests.registry.acts import Clock
    from tests.registry.identity.conftest import Desk

HERE = "127.0.0.1"


def basic(user: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


async def test_no_credential_is_nobody(desk: Desk) -> None:
    for header in (None, "", "Basic Og=="):
        assert (await desk.authenticator.caller(header, HERE)).subject == ANONYMOUS


async def test_a_token_speaks_for_its_owner_whatever_the_user_name_says(desk: Desk) -> None:
    shown = (basic("ada", "blobd_pat_bob"), "Bearer blobd_pat_bob", await desk.bearer("bob"))
    for header in shown:
        caller = await desk.authenticator.caller(header, HERE)
        assert (caller.subject.account_id, caller.subject.name) == (BOB, "bob")
        assert caller.subject.token_id == "bob"


async def test_a_bearer_token_says_what_it_was_asked_for(desk: Desk) -> None:
    header = await desk.bearer("bob", "repository:a/b:pull", "repository:c/d:pull,push")
    caller = await desk.authenticator.caller(header, HERE)
    assert caller.asked_on("a/b") == frozenset({"pull"})
    assert caller.asked_on("c/d") == frozenset({"pull", "push"})
    assert caller.asked_on("e/f") == frozenset()
    assert (await desk.authenticator.caller(basic("", "blobd_pat_bob"), HERE)).asked_on(
        "a/b"
    ) is None


async def test_a_workflow_token_speaks_for_its_source(desk: Desk) -> None:
    caller = await desk.authenticator.caller("Bearer blobd_wft_w", HERE)
    assert caller.subject.workflow == WorkflowOf(1, "automation")
    assert caller.subject.person_id is None


@pytest.mark.parametrize("header", ["Basic ???", "Digest x", "Bearer ", "Basic YWRh"])
async def test_what_cannot_be_read_is_refused(desk: Desk, header: str) -> None:
    with pytest.raises(CredentialMalformed):
        await desk.authenticator.caller(header, HERE)


async def test_what_does_not_count_says_which_token_and_why(
    desk: Desk, catalog: Catalog, clock: Clock
) -> None:
    for header in (basic("bob", "blobd_pat_gone"), await desk.bearer("gone")):
        with pytest.raises(TokenRefused, match=r"token blobd_pat_gone… \(gone\) of bob was re"):
            await desk.authenticator.caller(header, HERE)
    assert (await desk.authenticator.caller("Bearer blobd_pat_soon", HERE)).subject.name == "bob"
    clock.advance(61)
    with pytest.raises(TokenRefused, match=r"\(soon\) of bob expired on 20") as caught:
        await desk.authenticator.caller("Bearer blobd_pat_soon", HERE)
    assert caught.value.expired
    disabled = update(accounts).where(accounts.c.id == ADA).values(disabled_at=clock())
    await catalog.write(lambda transaction: transaction.execute(disabled))
    with pytest.raises(TokenRefused, match=r"\(ada\) of ada does not count: .* disabled"):
        await desk.authenticator.caller("Bearer blobd_pat_ada", HERE)
    with pytest.raises(TokenRefused, match="is gone"):
        await desk.authenticator.caller(await desk.bearer("never"), HERE)


async def test_a_revocation_counts_at_the_next_request(
    desk: Desk, catalog: Catalog, clock: Clock
) -> None:
    header = await desk.bearer("bob", "repository:a/b:pull")
    assert (await desk.authenticator.caller(header, HERE)).subject.name == "bob"
    revoked = update(tokens).where(tokens.c.id == "bob").values(revoked_at=clock())
    await catalog.write(lambda transaction: transaction.execute(revoked))
    with pytest.raises(TokenRefused, match="revoked"):
        await desk.authenticator.caller(header, HERE)


async def test_guessing_is_slowed_down_and_what_is_right_is_not(desk: Desk, clock: Clock) -> None:
    """Whoever shares an address with a guesser gets in: also by a credential not seen before."""
    forged = "Bearer x.y.z"
    for number in range(BURST):
        header = forged if number % 2 else basic("bob", f"guess{number}")
        with pytest.raises((TokenRefused, BearerInvalid)):
            await desk.authenticator.caller(header, HERE)
    for header in (basic("bob", "guess"), forged):
        with pytest.raises(TooManyFailures):
            await desk.authenticator.caller(header, HERE)
    right = basic("bob", "blobd_pat_bob"), "Bearer blobd_pat_bob", await desk.bearer("bob")
    for header in right:
        assert (await desk.authenticator.caller(header, HERE)).subject.name == "bob"
    # a right credential does not make room for more wrong ones
    with pytest.raises(TooManyFailures):
        await desk.authenticator.caller(forged, HERE)
    with pytest.raises(TokenRefused, match="revoked"):
        await desk.authenticator.caller(basic("bob", "blobd_pat_gone"), HERE)
    clock.advance(REGAIN_S + 1)
    with pytest.raises(TokenRefused):
        await desk.authenticator.caller(basic("bob", "guess"), HERE)


async def test_a_bearer_token_that_ran_out_is_no_guess(desk: Desk, clock: Clock) -> None:
    header = await desk.bearer("bob", lasts_s=10)
    clock.advance(30)
    for _ in range(2 * BURST):
        with pytest.raises(BearerInvalid) as caught:
            await desk.authenticator.caller(header, HERE)
        assert caught.value.expired
