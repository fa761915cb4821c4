"""Secrets can be told from other text, and leaks found, without asking the registry."""

from __future__ import annotations

import hashlib
import string

from hypothesis import given
from hypothesis import strategies as st

from blobd.registry.auth.secrets import (
    PERSONAL,
    WORKFLOW,
    hash_of,
    hint_of,
    is_secret,
    make_secret,
)


def test_a_secret_says_what_it_is_and_never_comes_twice() -> None:
    for prefix in (PERSONAL, WORKFLOW):
        made = {make_secret(prefix) for _ in range(100)}
        assert len(made) == 100
        for secret in made:
            assert secret.startswith(prefix)
            assert len(secret) == len(prefix) + 38
            assert is_secret(secret)
            assert len(hint_of(secret)) == len(prefix) + 4
            assert hash_of(secret) == hashlib.sha256(secret.encode()).hexdigest()


@given(st.integers(0, 47), st.sampled_from(string.ascii_letters + string.digits + "_-é"))
def test_one_wrong_character_is_noticed(place: int, wrong: str) -> None:
    secret = make_secret(PERSONAL)
    changed = secret[:place] + wrong + secret[place + 1 :]
    assert is_secret(changed) is (changed == secret)


@given(st.text())
def test_other_text_is_no_secret(text: str) -> None:
    assert not is_secret(text)
    assert not is_secret(PERSONAL + text)
