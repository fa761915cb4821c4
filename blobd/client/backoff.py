"""How often, and after which pause, a failed request is tried again."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.client.errors import ClientError, Misplaced, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retries:
    """The bounds of patience. A transfer that moved on in between starts counting anew."""

    in_a_row: int = 8
    first_delay_s: float = 0.5
    max_delay_s: float = 30.0


class Patience:
    """Counts the failures in a row of one transfer."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._failures = 0

    def moved_on(self) -> None:
        """Forget earlier failures: the transfer has made progress."""
        self._failures = 0

    async def bear(self, error: ClientError) -> None:
        """Pause before the next try; a server's Retry-After is never cut short.

        Raises the error itself when trying again cannot help or was tried often enough.
        """
        self._failures += 1
        if not error.retryable or self._failures > self._retries.in_a_row:
            raise error
        if isinstance(error, Misplaced):
            return
        longest_s = min(
            self._retries.first_delay_s * 2 ** (self._failures - 1), self._retries.max_delay_s
        )
        delay_s = longest_s * random.uniform(0.5, 1)  # noqa: S311 - spreads a herd, no secret
        if isinstance(error, Unavailable) and error.retry_after_s is not None:
            delay_s = max(delay_s, error.retry_after_s)
        await asyncio.sleep(delay_s)


async def patiently(
    retries: Retries, ask: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Return the answer of `ask`, tried again as long as that can help."""
    patience = Patience(retries)
    while True:
        try:
            return await ask(*args, **kwargs)
        except ClientError as error:
            await patience.bear(error)
