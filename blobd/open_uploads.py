"""How many upload sessions may be open at one time: in all, and of one account.

What is open lies in the backend and outlives workers and daemons; what is counted here is counted
in memory of one daemon, so that opening a session costs no look at the others. Every look for
abandoned sessions, the first one within seconds of a start, lists them anyway and sets the count
right: after a restart, for what other daemons and replicas have opened, for what a crash has left.
In between a count may be wrong by what the others opened or ended since, and by what was opened or
ended here while that listing ran.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from blobd.errors import TooManyOpenUploads
from blobd.fairness import may_take

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from blobd.config import Limits
    from blobd.fairness import Snapshot, Tally

_EVERYBODY = "*"
"""No account's name: what is open in all."""


class OpenUploads:
    """One worker's hand on the count. The tally is that of all workers and loses none that dies."""

    def __init__(self, tally: Tally, worker: int, limits: Limits) -> None:
        self._tally = tally
        self._worker = worker
        self._limit = limits.max_open_uploads
        self._account_limit = limits.max_open_uploads_per_account
        self._share = limits.account_share

    @contextmanager
    def opening(self, account: str | None) -> Iterator[None]:
        """Count one more, unless the block that opens it fails.

        `account` None: a caller that acts for many. Raises TooManyOpenUploads before the block,
        where it is one too many.
        """
        self._start(account)
        try:
            yield
        except Exception:
            self.ended(account)
            raise

    def _start(self, account: str | None) -> None:
        everybody = self._tally.holding(_EVERYBODY, self._worker)
        free = self._limit - everybody.amount
        if account is None:
            if free <= 0:
                raise TooManyOpenUploads("max_open_uploads", self._limit)
        else:
            holding = self._tally.holding(account, self._worker)
            held = holding.amount
            if held >= self._account_limit:
                raise TooManyOpenUploads("max_open_uploads_per_account", self._account_limit)
            if not may_take(1, held=held, free=free, share=self._share):
                raise TooManyOpenUploads("max_open_uploads", self._limit)
            holding.add(1)
        everybody.add(1)

    def ended(self, account: str | None) -> None:
        """Count one less."""
        self._tally.holding(_EVERYBODY, self._worker).add(-1)
        if account is not None:
            self._tally.holding(account, self._worker).add(-1)

    def snapshot(self) -> Snapshot:
        """Return what is counted now, for `recount`."""
        return self._tally.snapshot()

    def recount(self, before: Snapshot, found: Mapping[str | None, int]) -> None:
        """Set the count right by a listing that was begun when `before` was taken.

        `found` is how many sessions of each account it showed.
        """
        known = {account: count for account, count in found.items() if account is not None}
        self._tally.correct(self._worker, before, known | {_EVERYBODY: sum(found.values())})
