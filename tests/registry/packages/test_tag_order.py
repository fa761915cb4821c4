"""Tags in the order in which people read them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from blobd.registry.packages.tag_order import is_attachment, newest_first

SIGNATURE = f"sha256-{'a' * 64}.sig"
ORDERED = [
    "latest",
    "2024.1", "v10.0.0", "9.10.1", "9.9.1",
    "1.2.3", "1.2.3-10-slim", "1.2.3-9-slim", "1.2.3-rc.2", "1.2.3-rc.1", "1.2.3-beta", "1.2.3b1",
    "1.2", "1.2-alpine", "1",
    "main", "pr-9", "sha-1a2b3c", "1a2b3c4",
    SIGNATURE,
]  # fmt: skip


def test_versions_come_newest_first_and_the_rest_behind_them() -> None:
    shuffled = random.Random(1).sample(ORDERED, len(ORDERED))
    found = newest_first(shuffled)
    assert found[:15] == ORDERED[:15]
    assert sorted(found[15:19]) == sorted(ORDERED[15:19])
    assert found[-1] == SIGNATURE
    assert is_attachment(SIGNATURE)
    assert not is_attachment("sha256-abc")


@given(st.lists(st.from_regex(r"\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,20}\Z"), unique=True))
def test_the_order_does_not_depend_on_where_one_begins(names: list[str]) -> None:
    found = newest_first(names)
    assert sorted(found) == sorted(names)
    assert newest_first(found[::-1]) == found
