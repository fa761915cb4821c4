"""The Authorization header, and failed logins (issue 5, item 3)."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.errors import CredentialMalformed, TooManyFailures
from blobd.registry.auth.attempts import BURST, REGAIN_S, Attempts
from blobd.registry.auth.credentials import Bearer, Password, parse_authorization


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("Basic Og==", None),
        ("Bearer QQ==", None),  # Homebrew's for nobody
        ("Bearer YmxvYmRfcGF0X3g=", Bearer("blobd_pat_x")),
        ("Bearer YmxvYmRfcGF0X3gK", Bearer("blobd_pat_x")),  # with the newline of `echo`
        ("Bearer YmxvYmRfd2Z0X3g=", Bearer("blobd_wft_x")),
        ("Bearer c29tZXRoaW5n", Bearer("c29tZXRoaW5n")),
        (basic("ada:secret"), Password("ada", "secret")),
        (basic("ada:with:colons"), Password("ada", "with:colons")),
        (basic(":secret"), Password("", "secret")),
        (basic("ädä:ß"), Password("ädä", "ß")),
        ("bearer  abc ", Bearer("abc")),
        ("token abc", Bearer("abc")),
    ],
)
def test_what_a_header_shows(header: str | None, expected: object) -> None:
    """RFC 7617 and 6750; `Basic Og==` is an anonymous caller (2.5)."""
    assert parse_authorization(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!",
        "Basic \xff\xfe",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Bearer",
        "Digest x",
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
    ],
)
def test_a_header_that_cannot_be_read_is_never_anonymous(header: str) -> None:
    """An unreadable credential never turns into anonymous silently."""
    with pytest.raises(CredentialMalformed):
        parse_authorization(header)


@given(st.text())
def test_any_header_is_read_or_refused(header: str) -> None:
    """Whatever a client sends."""
    with suppress(CredentialMalformed):
        parse_authorization(header)


def test_guessing_is_slowed_down_for_one_address_alone() -> None:
    """A burst of failures, then one for each interval; others are not touched."""
    now = [1000.0]
    attempts = Attempts(lambda: now[0])
    for _ in range(BURST):
        attempts.check("10.0.0.1")
        attempts.failed("10.0.0.1")
    with pytest.raises(TooManyFailures) as caught:
        attempts.check("10.0.0.1")
    assert 0 < caught.value.wait_s <= REGAIN_S
    attempts.check("10.0.0.2")
    now[0] += REGAIN_S
    attempts.check("10.0.0.1")
    attempts.failed("10.0.0.1")
    with pytest.raises(TooManyFailures):
        attempts.check("10.0.0.1")
    now[0] += BURST * REGAIN_S
    for _ in range(BURST):
        attempts.check("10.0.0.1")
        attempts.failed("10.0.0.1")


def test_addresses_are_not_remembered_without_end() -> None:
    """Memory is bounded, and the latest failures count."""
    attempts = Attempts(lambda: 1.0)
    for number in range(12_000):
        attempts.failed(str(number))
    assert len(attempts._full_at) == 10_000
