"""Scopes and challenges (RFC 6750)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.registry.auth.scopes import MAX_SCOPES, Challenge, Scope, on_repository, parse_scopes
from blobd.registry.errors import TooManyScopes


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["repository:a/b:pull"], ["repository:a/b:pull"]),
        (["repository:a/b:push,pull"], ["repository:a/b:pull,push"]),
        (
            ["repository:a/b:pull repository:c/d:push"],
            ["repository:a/b:pull", "repository:c/d:push"],
        ),
        (["repository:a/b:pull", "repository:a/b:push"], ["repository:a/b:pull,push"]),
        (["repository:host:5000/a/b:pull"], ["repository:host:5000/a/b:pull"]),
        (["repository(plugin):a/b:pull"], ["repository:a/b:pull"]),
        (["registry:catalog:*"], ["registry:catalog:*"]),
        (["", "  "], []),
        (["repository", "repository:", "repository:a", ":a:pull", "repository:a/b:"], []),
        (["repository:a/b:PULL", "REPOSITORY:a/b:pull", "repository:a/b:pull,,push"], []),
        (["x" * 2000 + ":a:pull"], []),
    ],
)
def test_what_a_client_asks_for(values: list[str], expected: list[str]) -> None:
    """2.2: repeated, joined, with ports, and what is not understood asks for nothing."""
    assert [str(scope) for scope in parse_scopes(values)] == expected


def test_what_one_token_can_cover_is_taken_and_more_is_refused() -> None:
    """The work for one request is bounded, and nothing is dropped in silence."""
    asked = [f"repository:a/{n}:pull" for n in range(MAX_SCOPES)]
    assert [str(scope) for scope in parse_scopes([" ".join(asked)])] == asked
    assert len(parse_scopes(asked + asked)) == MAX_SCOPES
    with pytest.raises(TooManyScopes, match=r"1001 scopes .* at most 1000"):
        parse_scopes([*asked, "repository:a/more:pull"])


@given(st.lists(st.text()))
def test_whatever_comes_is_read_or_passed_over(values: list[str]) -> None:
    """2.2: grant nothing, no error; and what was read reads the same again."""
    scopes = parse_scopes(values)
    assert parse_scopes(map(str, scopes)) == scopes


def test_a_challenge_names_realm_service_scope_and_error() -> None:
    """2.1: what docker, containerd and skopeo parse."""
    challenge = Challenge(
        "https://host/token", "host", (on_repository("acme/app", "pull", "push"),)
    )
    assert str(challenge) == (
        'Bearer realm="https://host/token",service="host",scope="repository:acme/app:pull,push"'
    )
    both = Challenge(
        "r",
        "s",
        (on_repository("a", "pull"), Scope("registry", "catalog", frozenset("*"))),
        "insufficient_scope",
    )
    assert str(both).endswith(
        'scope="repository:a:pull registry:catalog:*",error="insufficient_scope"'
    )
    assert str(Challenge("r", "s")) == 'Bearer realm="r",service="s"'
