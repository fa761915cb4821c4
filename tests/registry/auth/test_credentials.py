"""The Authorization header, and failed logins."""

from __future__ import annotations

import base64
import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.http.errors import CredentialMalformed
from blobd.registry.auth.attempts import BURST, REGAIN_S, Attempts
from blobd.registry.auth.credentials import Bearer, Password, parse_authorization
from blobd.registry.errors import TooManyFailures


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


def fail(attempts: Attempts, address: str, times: int) -> None:
    for _ in range(times):
        attempts.failed(address)


def test_guessing_is_slowed_down_for_one_address_alone() -> None:
    """A burst of failures, then one for each interval; others are not touched."""
    now = [1000.0]
    attempts = Attempts(lambda: now[0])
    fail(attempts, "10.0.0.1", BURST)
    for _ in range(3):
        with pytest.raises(TooManyFailures) as caught:
            attempts.failed("10.0.0.1")
        assert 0 < caught.value.wait_s <= REGAIN_S
    attempts.failed("10.0.0.2")
    now[0] += REGAIN_S
    attempts.failed("10.0.0.1")
    with pytest.raises(TooManyFailures):
        attempts.failed("10.0.0.1")
    now[0] += BURST * REGAIN_S
    fail(attempts, "10.0.0.1", BURST)
    with pytest.raises(TooManyFailures):
        attempts.failed("10.0.0.1")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("", "10.0.0.1", False),
    ],
)
def test_a_client_has_a_64_of_ipv6_and_one_address_of_ipv4(
    first: str, second: str, *, same: bool
) -> None:
    attempts = Attempts(lambda: 1000.0)
    fail(attempts, first, BURST)
    if same:
        with pytest.raises(TooManyFailures):
            attempts.failed(second)
    else:
        attempts.failed(second)


def test_addresses_are_not_remembered_without_end() -> None:
    """Memory is bounded, and whoever has failed most is remembered longest."""
    attempts = Attempts(lambda: 1000.0)
    fail(attempts, "10.0.0.1", BURST)
    for number in range(40_000):
        attempts.failed(str(number))
    with pytest.raises(TooManyFailures):
        attempts.failed("10.0.0.1")


def test_failures_are_counted_over_all_processes_of_a_daemon() -> None:
    attempts = Attempts(lambda: 1000.0)
    for _ in range(4):
        child = os.fork()
        if child == 0:
            fail(attempts, "10.0.0.1", BURST // 4)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(TooManyFailures):
        attempts.failed("10.0.0.1")
