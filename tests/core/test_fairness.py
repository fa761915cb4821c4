"""Shares of accounts (the invariants of fairness.py)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.config import Config, Limits
from blobd.errors import AccountBusy, TooManyUploads
from blobd.fairness import NOBODY, FairPool, Tally, may_take
from blobd.limits import SIZES_BYTES, Accounts, Admission, Budget, Lease
from blobd.metrics import Metrics
from blobd.quota import Account

SMALL, MIDDLE, LARGE = SIZES_BYTES
SOON_S = 20.0


@given(limit=st.integers(1, 2000), greedy=st.integers(1, 50), share=st.floats(0.01, 0.99))
def test_whatever_the_greedy_take_there_is_one_for_who_has_none(
    limit: int, greedy: int, share: float
) -> None:
    """Invariants 1 and 2: taking in turns until nobody may, a part is left."""
    held = [0] * greedy
    taking = True
    while taking:
        taking = False
        for index in range(greedy):
            free = limit - sum(held)
            if may_take(1, held=held[index], free=free, share=share):
                held[index] += 1
                taking = True
    free = limit - sum(held)
    if free:
        assert may_take(1, held=0, free=free, share=share)
    if greedy < limit * (1 - share) / (1 + greedy):
        assert free > 0


def test_one_account_alone_gets_its_share() -> None:
    """Invariant 2: half of the places by default, all of them where the setting says so."""
    assert _taken_alone(100, 0.5) == 50
    assert _taken_alone(100, 0.75) == 75
    assert _taken_alone(100, 1) == 100
    assert _taken_alone(1, 0.5) == 1


def _taken_alone(limit: int, share: float) -> int:
    held = 0
    while may_take(1, held=held, free=limit - held, share=share):
        held += 1
    return held


class TestTally:
    def test_workers_count_together_and_a_dead_one_no_more(self) -> None:
        """Invariant 4."""
        tally = Tally(workers=3)
        hands = [tally.holding("ada", worker) for worker in range(3)]
        for number, hand in enumerate(hands):
            hand.add(number + 1)
        assert {hand.amount for hand in hands} == {6}
        assert tally.holding("bob", 1).amount == 0
        tally.retire(2)
        assert hands[0].amount == 3

    def test_accounts_are_told_apart(self) -> None:
        """A sketch never says too little, and hardly ever too much."""
        tally = Tally()
        for number in range(500):
            tally.holding(f"account:{number}").add(number)
        for number in range(500):
            assert tally.holding(f"account:{number}").amount >= number
        assert sum(tally.holding(f"account:{number}").amount > 0 for number in range(500, 900)) < 40


class TestPlaces:
    async def test_an_account_leaves_places_to_others(self) -> None:
        """limits.py, 4: over all workers; who speaks for many is bounded by the limit alone."""
        shares = Accounts(Config(limits=Limits(max_uploads=8)), workers=2)
        one, two = (
            Admission(hand.uploads, Metrics(), tally=hand.uploads_of, account_share=0.5)
            for hand in (shares.shares(0), shares.shares(1))
        )
        async with one.admit("ada"), two.admit("ada"), one.admit("ada"), two.admit("ada"):
            for admission in (one, two):
                with pytest.raises(AccountBusy) as raised:
                    async with admission.admit("ada"):
                        pass
                assert (raised.value.held, raised.value.limit) == (4, 8)
            async with two.admit("bob"), one.admit("bob"), two.admit(None), one.admit(None):
                with pytest.raises(TooManyUploads):
                    async with two.admit("eve"):
                        pass


class TestBuffers:
    async def test_alone_an_account_uses_the_whole_budget(self) -> None:
        """limits.py, 5."""
        budget = _budget(4 * LARGE)
        ada = budget.holding("ada")
        leases = [await budget.take(LARGE, ada) for _ in range(4)]
        assert [len(lease.view) for lease in leases] == [LARGE] * 4
        _release(leases)

    async def test_beside_others_one_beyond_its_share_gets_the_smallest(self) -> None:
        """limits.py, 5."""
        budget = _budget(4 * LARGE)
        ada, bob = budget.holding("ada"), budget.holding("bob")
        leases = [await budget.take(SMALL, bob)]
        leases += [await budget.take(LARGE, ada) for _ in range(3)]
        assert [len(lease.view) for lease in leases] == [SMALL, LARGE, LARGE, SMALL]
        leases.append(await budget.take(LARGE, bob))
        assert len(leases[-1].view) == LARGE
        _release(leases)
        assert ada.amount == bob.amount == 0


def _budget(max_bytes: int) -> Budget:
    return Budget(Account(max_bytes).share(), wait_s=SOON_S, metrics=Metrics(), account_share=0.5)


def _release(leases: list[Lease]) -> None:
    for lease in leases:
        lease.release()


class TestPool:
    async def test_who_waits_for_itself_holds_nobody_up(self) -> None:
        """Invariant 3."""
        pool = FairPool(8, share=0.5, wait_s=SOON_S, what="places")
        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            done = asyncio.Event()
            entered: list[str] = []

            async def hold(account: str, amount: int) -> None:
                async with pool.hold(account, amount):
                    entered.append(account)
                    await done.wait()

            for _ in range(10):
                group.create_task(hold("ada", 1))
            for _ in range(20):
                await asyncio.sleep(0)
            assert entered == ["ada"] * 4
            async with pool.hold("bob", 2):
                entered.append("bob")
            done.set()
        assert entered == ["ada"] * 4 + ["bob"] + ["ada"] * 6
        assert pool._used == 0
        assert not pool._held

    async def test_one_that_waits_in_vain_is_told(self) -> None:
        """FairPool.hold: AccountBusy, and nothing is held."""
        pool = FairPool(8, share=0.5, wait_s=0.01, what="places")
        async with pool.hold("ada", 4):
            with pytest.raises(AccountBusy):
                async with pool.hold("ada", 1):
                    pass
        async with pool.hold("bob", 8):
            pass
        assert pool._used == 0

    async def test_one_that_is_cancelled_holds_nothing(self) -> None:
        """FairPool.hold: while it waits, and in the instant in which it is granted."""
        pool = FairPool(2, share=0.5, wait_s=SOON_S, what="places")

        async def hold() -> None:
            async with pool.hold("ada", 1):
                raise AssertionError("it was cancelled before")

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            async with pool.hold("ada", 1):
                early, late = group.create_task(hold()), group.create_task(hold())
                await asyncio.sleep(0)
                early.cancel()
                await asyncio.sleep(0)
            late.cancel()
        assert pool._used == 0
        assert not pool._waiting

    async def test_all_that_wait_are_cancelled_at_once(self) -> None:
        """FairPool: as when a daemon stops; what was held is free again."""
        pool = FairPool(1, share=1, wait_s=SOON_S, what="places")

        async def hold() -> None:
            async with pool.hold("ada"):
                await asyncio.sleep(SOON_S)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(hold()) for _ in range(5)]
            for _ in range(5):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
        assert all(task.cancelled() for task in tasks)
        assert pool.try_take("bob")

    @pytest.mark.parametrize("places", [1, 2, 4])
    async def test_nobody_waits_behind_all_that_one_has_asked_for(self, places: int) -> None:
        """FairPool: alone an account may have all; beside others the one that has least is next."""
        pool = FairPool(places, share=1, wait_s=SOON_S, what="turns")
        order: list[str] = []

        async def hold(account: str) -> None:
            async with pool.hold(account):
                order.append(account)
                await asyncio.sleep(0)

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
            for account in ["ada"] * 20 + ["bob"] * 3 + ["eve", NOBODY]:
                group.create_task(hold(account))
        assert order[:places] == ["ada"] * places
        assert {order.index("bob"), order.index("eve"), order.index(NOBODY)} <= set(
            range(places + 4)
        )
        assert order[-5:] == ["ada"] * 5

    async def test_a_large_amount_is_not_passed_by_small_ones_for_ever(self) -> None:
        """FairPool: who holds nothing is served in the order of asking."""
        pool = FairPool(4, share=1, wait_s=SOON_S, what="places")
        order: list[str] = []

        async def hold(account: str, amount: int) -> None:
            async with pool.hold(account, amount):
                order.append(account)
                await asyncio.sleep(0)

        async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group, pool.hold("ada", 2):
            group.create_task(hold("large", 4))
            await asyncio.sleep(0)
            group.create_task(hold("small", 3))
            await asyncio.sleep(0)
        assert order == ["large", "small"]
