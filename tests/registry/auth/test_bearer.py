"""Bearer tokens: what is signed, and everything that must not pass."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from blobd.registry.auth.bearer import ACCESS, REFRESH, Claims, Keyring, SigningKey
from blobd.registry.auth.coverage import NamedScopes
from blobd.registry.auth.scopes import on_repository
from blobd.registry.errors import BearerInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence


class Shelf:
    """Keys as all processes would find them, and the time."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.keys: list[SigningKey] = [SigningKey.make(now=self.now)]
        self.loads = 0

    async def load(self) -> Sequence[SigningKey]:
        self.loads += 1
        return list(self.keys)

    def ring(self, audience: str = "here") -> Keyring:
        return Keyring(self.load, audience=audience, clock=lambda: self.now)

    def claims(self, **changes: Any) -> Claims:
        claims = Claims(
            use=ACCESS,
            account="ada",
            token_id="t1",
            covers=NamedScopes((on_repository("ada/app", "pull", "push"),)),
            issued_at=self.now,
            expires_at=self.now + 300,
        )
        return replace(claims, **changes)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def forged(shelf: Shelf, *, header: dict[str, Any], key: Any = None, **payload: Any) -> str:
    """Return a token of right form, signed as `header` says."""
    stated: dict[str, Any] = {
        "iss": "blobd",
        "aud": "here",
        "sub": "root",
        "iat": 1_000_000,
        "nbf": 1_000_000,
        "exp": 2_000_000,
        "use": "access",
        "pat": "t1",
        "access": [],
        **payload,
    }
    algorithm = header.pop("alg", "EdDSA")
    return jwt.encode(stated, key, algorithm=algorithm, headers=header)


async def test_what_was_signed_is_read_again_by_any_process(shelf: Shelf) -> None:
    """Anything a request needs is in no worker's memory alone."""
    claims = shelf.claims()
    token = await shelf.ring().sign(claims)
    assert await shelf.ring().verify(token, use=ACCESS) == claims
    assert len(token) < 600


async def test_a_token_ends_when_it_says(shelf: Shelf) -> None:
    """Also one that was verified before; the caller is told that it was a matter of time."""
    ring = shelf.ring()
    token = await ring.sign(shelf.claims())
    await ring.verify(token, use=ACCESS)
    shelf.now += 306
    for _ in range(2):
        with pytest.raises(BearerInvalid) as caught:
            await ring.verify(token, use=ACCESS)
        assert caught.value.expired


async def test_a_token_from_the_future_does_not_count_yet(shelf: Shelf) -> None:
    """Neither `iat` nor `nbf` may be ahead by more than clocks of replicas may differ."""
    kid = shelf.keys[0].kid
    key = Ed25519PrivateKey.from_private_bytes(shelf.keys[0].private)
    ring = shelf.ring()
    for claim in ("iat", "nbf"):
        for ahead_s, counts in ((59, True), (61, False), (40 * 86_400, False)):
            token = forged(shelf, header={"kid": kid}, key=key, **{claim: 1_000_000 + ahead_s})
            if counts:
                await ring.verify(token, use=ACCESS)
                continue
            for _ in range(2):
                with pytest.raises(BearerInvalid, match="does not count yet") as caught:
                    await ring.verify(token, use=ACCESS)
                assert caught.value.early
                assert not caught.value.expired
    # its time comes
    token = forged(shelf, header={"kid": kid}, key=key, nbf=1_000_100)
    with pytest.raises(BearerInvalid):
        await ring.verify(token, use=ACCESS)
    shelf.now += 41
    await ring.verify(token, use=ACCESS)


async def test_a_token_is_for_one_use_and_one_service(shelf: Shelf) -> None:
    """A refresh token opens no repository, and another service's token nothing."""
    refresh = await shelf.ring().sign(shelf.claims(use=REFRESH))
    with pytest.raises(BearerInvalid, match="for refresh"):
        await shelf.ring().verify(refresh, use=ACCESS)
    elsewhere = await shelf.ring("there").sign(shelf.claims())
    with pytest.raises(BearerInvalid, match="another service"):
        await shelf.ring().verify(elsewhere, use=ACCESS)


async def test_forged_tokens_do_not_pass(shelf: Shelf) -> None:
    """alg=none, a symmetric algorithm over the public key, a foreign key, a changed payload."""
    ring, kid = shelf.ring(), shelf.keys[0].kid
    true = await ring.sign(shelf.claims())
    head, body, signature = true.split(".")
    changed = json.loads(base64.urlsafe_b64decode(body + "=="))
    changed["sub"] = "root"
    other = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()
    public = Ed25519PrivateKey.from_private_bytes(shelf.keys[0].private).public_key()
    for token in (
        forged(shelf, header={"alg": "none", "kid": kid}),
        forged(shelf, header={"alg": "HS256", "kid": kid}, key=public.public_bytes_raw()),
        forged(shelf, header={"kid": kid}, key=Ed25519PrivateKey.generate()),
        forged(shelf, header={"kid": "unknown"}, key=Ed25519PrivateKey.generate()),
        forged(shelf, header={}, key=Ed25519PrivateKey.generate()),
        f"{head}.{other}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        true[:-4] + "AAAA",
        "",
        "rubbish",
        "a.b.c",
        "x" * 100_000,
    ):
        with pytest.raises(BearerInvalid):
            await ring.verify(token, use=ACCESS)


@pytest.mark.parametrize(
    "missing", ["exp", "iat", "nbf", "sub", "aud", "iss", "use", "pat", "access"]
)
async def test_a_signed_token_without_a_claim_does_not_pass(shelf: Shelf, missing: str) -> None:
    """What is read later must be there."""
    private = Ed25519PrivateKey.from_private_bytes(shelf.keys[0].private)
    token = forged(shelf, header={"kid": shelf.keys[0].kid}, key=private)
    payload = jwt.decode(token, options={"verify_signature": False})
    del payload[missing]
    less = jwt.encode(payload, private, algorithm="EdDSA", headers={"kid": shelf.keys[0].kid})
    with pytest.raises(BearerInvalid):
        await shelf.ring().verify(less, use=ACCESS)


async def test_keys_are_rotated_by_any_process(shelf: Shelf) -> None:
    """A new key signs; the old one verifies until it is taken away."""
    signer, verifier = shelf.ring(), shelf.ring()
    old = await signer.sign(shelf.claims())
    await verifier.verify(old, use=ACCESS)
    shelf.keys.append(SigningKey.make(now=shelf.now + 1))
    shelf.now += 61
    new = await signer.sign(shelf.claims(expires_at=shelf.now + 300))
    assert jwt.get_unverified_header(new)["kid"] == shelf.keys[1].kid
    await verifier.verify(new, use=ACCESS)
    await verifier.verify(old, use=ACCESS)
    del shelf.keys[0]
    shelf.now += 2
    with pytest.raises(BearerInvalid):
        await verifier.verify(
            forged(shelf, header={"kid": "x"}, key=Ed25519PrivateKey.generate()), use=ACCESS
        )
    with pytest.raises(BearerInvalid, match="not in use"):
        await verifier.verify(old, use=ACCESS)


async def test_unknown_keys_do_not_make_the_catalog_work(shelf: Shelf) -> None:
    """A flood of foreign tokens asks for the keys once a second at most."""
    ring = shelf.ring()
    await ring.verify(await ring.sign(shelf.claims()), use=ACCESS)
    before = shelf.loads
    for number in range(50):
        token = forged(shelf, header={"kid": f"k{number}"}, key=Ed25519PrivateKey.generate())
        with pytest.raises(BearerInvalid):
            await ring.verify(token, use=ACCESS)
    assert shelf.loads <= before + 1


async def test_what_is_remembered_is_bounded(shelf: Shelf) -> None:
    """Verified tokens are kept to spare the arithmetic, not without end."""
    ring = shelf.ring()
    for number in range(4200):
        await ring.verify(await ring.sign(shelf.claims(account=f"a{number}")), use=ACCESS)
    assert len(ring._known) == 4096
