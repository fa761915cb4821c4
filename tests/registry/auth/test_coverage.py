"""Tokens that cover many repositories still fit into one header line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest

from blobd.registry.auth.bearer import ACCESS, Claims, Keyring, SigningKey
from blobd.registry.auth.coverage import HashedScopes, NamedScopes
from blobd.registry.auth.scopes import CATALOG, MAX_SCOPES, Scope, on_repository
from blobd.registry.errors import TooManyScopes

if TYPE_CHECKING:
    from collections.abc import Sequence

_LINE_MAX_BYTES = 8192
"""What nginx and Apache take by default, of a request line or header line."""
_KEY = SigningKey.make(now=0)


async def _keys() -> Sequence[SigningKey]:
    return [_KEY]


def _ring() -> Keyring:
    return Keyring(_keys, audience="x" * 50, clock=lambda: 1_000_000.0)


def _names(count: int, length: int = 255) -> list[str]:
    return [f"acme/{number:05}-".ljust(length, "n") for number in range(count)]


async def _signed(scopes: Sequence[Scope]) -> str:
    """Return a token with all else as long as it gets."""
    covers = NamedScopes(tuple(scopes))
    return await _ring().sign(Claims(ACCESS, "u" * 100, "t" * 40, covers, 1_000_000, 1_000_300))


def _payload(token: str) -> dict[str, Any]:
    read: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return read


@pytest.mark.parametrize("count", [1, 64, 65, 200, MAX_SCOPES])
async def test_a_token_covers_what_it_was_asked_for_and_fits(count: int) -> None:
    """Whatever a token endpoint issues is taken in a header, by proxies too."""
    names = _names(count)
    words = (("pull",), ("pull", "push"), ("delete", "pull", "push"))
    scopes = [on_repository(name, *words[n % 3]) for n, name in enumerate(names)]
    token = await _signed(scopes)
    assert len(f"Authorization: Bearer {token}\r\n") < _LINE_MAX_BYTES
    covers = (await _ring().verify(token, use=ACCESS)).covers
    for scope in scopes:
        assert covers.actions("repository", scope.name) >= scope.actions
    others = [covers.actions("repository", f"{name[:-1]}m") for name in names]
    assert sum(map(bool, others)) <= 1  # one in four million each
    assert not covers.actions("registry", names[0])


async def test_few_scopes_are_named_as_clients_know_them() -> None:
    """distribution's token.md: `access` with type, name and actions."""
    scopes = [on_repository(name, "pull") for name in _names(9, 60)]
    assert len(_payload(await _signed(scopes))["access"]) == 9


async def test_hashes_are_of_one_token() -> None:
    """Names that pass by chance in one token cannot be looked for in another."""
    scopes = [on_repository(name, "pull") for name in _names(100)]
    one, other = [_payload(await _signed(scopes))["hashed_access"] for _ in range(2)]
    assert one != other
    assert not [name for name in _names(100) if name in str(one)]


async def test_many_scopes_may_have_the_catalog_among_them() -> None:
    scopes = [CATALOG, *(on_repository(name, "pull") for name in _names(300))]
    covers = (await _ring().verify(await _signed(scopes), use=ACCESS)).covers
    assert isinstance(covers, HashedScopes)
    assert covers.actions(CATALOG.kind, CATALOG.name) == CATALOG.actions


async def test_what_cannot_fit_is_refused_with_how_many_can() -> None:
    scopes = [on_repository(name, "pull") for name in _names(1500)]
    with pytest.raises(TooManyScopes, match=r"1500 scopes .* at most 1\d\d\d;"):
        await _signed(scopes)
