"""What a download is answered, decided from headers alone (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.digest import Span
from blobd.http.ranges import (
    Decision,
    Failed,
    NotModified,
    Partial,
    Unsatisfiable,
    Whole,
    decide,
)

ETAG = '"sha256:aa"'


def partial(*spans: tuple[int, int]) -> Partial:
    return Partial(tuple(Span(start, stop) for start, stop in spans))


RANGES: list[tuple[str, int, Decision]] = [
    ("bytes=0-0", 100, partial((0, 1))),
    ("bytes=0-99", 100, partial((0, 100))),
    ("bytes=10-19", 100, partial((10, 20))),
    ("bytes=10-99999999999999999999", 100, partial((10, 100))),
    (f"bytes=10-{'9' * 5000}", 100, partial((10, 100))),
    (f"bytes={'0' * 5000}10-19", 100, partial((10, 20))),
    ("bytes=-99999999999999999999", 100, partial((0, 100))),
    ("bytes=99999999999999999999-", 100, Unsatisfiable()),
    ("bytes=99-", 100, partial((99, 100))),
    ("bytes=0-", 100, partial((0, 100))),
    ("bytes=-1", 100, partial((99, 100))),
    ("bytes=-100", 100, partial((0, 100))),
    ("bytes=-200", 100, partial((0, 100))),
    ("bytes=90-200", 100, partial((90, 100))),
    ("bytes=0-9999999999999999999", 100, partial((0, 100))),
    ("bytes=100-", 100, Unsatisfiable()),
    ("bytes=100-200", 100, Unsatisfiable()),
    ("bytes=-0", 100, Unsatisfiable()),
    ("bytes=0-0", 0, Whole()),
    ("bytes=0-", 0, Whole()),
    ("bytes=5-", 0, Whole()),
    ("bytes=-5", 0, Whole()),
    ("bytes=0-9,-5", 0, Whole()),
    ("bytes=9-0", 0, Unsatisfiable()),
    ("bytes=0-0,-1", 100, partial((0, 1), (99, 100))),
    ("bytes=50-59,0-9", 100, partial((50, 60), (0, 10))),
    ("bytes=0-9, 20-29 ,\t40-49", 100, partial((0, 10), (20, 30), (40, 50))),
    ("bytes=0-9,,20-29,", 100, partial((0, 10), (20, 30))),
    ("bytes=0-9,100-110", 100, partial((0, 10))),
    ("bytes=100-110,-0", 100, Unsatisfiable()),
    ("BYTES=0-9", 100, partial((0, 10))),
    ("bytes=0-99,0-99", 100, Whole()),
    ("bytes=" + ",".join(["7-7"] * 1025), 9999, Whole()),
    ("bytes=" + ",".join(["0-0", "9999-"] * 513), 9999, Whole()),
    ("bytes=9-0", 100, Unsatisfiable()),
    ("bytes=", 100, Whole()),
    ("bytes=-", 100, Whole()),
    ("bytes=,", 100, Whole()),
    ("bytes=a-b", 100, Whole()),
    ("bytes=0-9,x", 100, Whole()),
    ("bytes=1.5-2", 100, Whole()),
    ("bytes=+1-2", 100, Whole()),
    ("bytes=--1", 100, Whole()),
    ("bytes=\u0660-\u0669", 100, Whole()),
    ("bytes 0-9", 100, Whole()),
    ("items=0-9", 100, Whole()),
    ("", 100, Whole()),
]


@pytest.mark.parametrize(("asked", "size_bytes", "decision"), RANGES)
def test_a_range_is_read_as_the_rfc_says(asked: str, size_bytes: int, decision: Decision) -> None:
    """Issue item 5: single, several, suffix, clipped; what is malformed is ignored."""
    assert decide({"Range": asked}, etag=ETAG, size_bytes=size_bytes) == decision


def test_as_many_ranges_as_clients_ask_for_are_answered_in_their_order() -> None:
    """1,024 ranges of ten digits: in any order, adjacent, overlapping, some beyond the end."""
    size_bytes = 9_999_999_999
    inside = [(start * 9_000_001, start * 9_000_001 + 9_000_500) for start in range(1000)]
    spans = sorted(inside, key=lambda span: span[0] * 7919 % 6007)
    specs = [f"{first:010d}-{last:010d}" for first, last in spans]
    beyond = [f"{size_bytes + i}-{size_bytes + i}" for i in range(24)]
    asked = "bytes=" + ",".join(specs[:500] + beyond + specs[500:])
    assert len(asked) > 16 * 1024
    decision = decide({"Range": asked}, etag=ETAG, size_bytes=size_bytes)
    assert decision == partial(*((first, last + 1) for first, last in spans))


VALIDATORS: list[tuple[dict[str, str], Decision]] = [
    ({}, Whole()),
    ({"If-None-Match": ETAG}, NotModified()),
    ({"If-None-Match": f"W/{ETAG}"}, NotModified()),
    ({"If-None-Match": f'"other", {ETAG}'}, NotModified()),
    ({"If-None-Match": "*"}, NotModified()),
    ({"If-None-Match": '"other"'}, Whole()),
    ({"If-None-Match": "sha256:aa"}, Whole()),
    ({"If-None-Match": ETAG, "Range": "bytes=0-0"}, NotModified()),
    ({"If-None-Match": '"other"', "Range": "bytes=0-0"}, partial((0, 1))),
    ({"If-Match": ETAG}, Whole()),
    ({"If-Match": f'"other" , {ETAG}'}, Whole()),
    ({"If-Match": "*"}, Whole()),
    ({"If-Match": '"other"'}, Failed()),
    ({"If-Match": f"W/{ETAG}"}, Failed()),
    ({"If-Match": '"other"', "If-None-Match": ETAG}, Failed()),
    ({"If-Match": ETAG, "Range": "bytes=0-0"}, partial((0, 1))),
    ({"If-Range": ETAG, "Range": "bytes=0-0"}, partial((0, 1))),
    ({"If-Range": f"W/{ETAG}", "Range": "bytes=0-0"}, Whole()),
    ({"If-Range": '"other"', "Range": "bytes=0-0"}, Whole()),
    ({"If-Range": "Tue, 24 Nov 2026 00:00:00 GMT", "Range": "bytes=0-0"}, Whole()),
    ({"If-Range": '"other"', "Range": "bytes=500-"}, Whole()),
    ({"If-Range": ETAG}, Whole()),
]


@pytest.mark.parametrize(("headers", "decision"), VALIDATORS)
def test_validators_come_before_ranges(headers: dict[str, str], decision: Decision) -> None:
    """Issue item 5: If-Match, If-None-Match and If-Range, in the order of RFC 9110 13.2.2."""
    assert decide(headers, etag=ETAG, size_bytes=100) == decision


NUMBERS = st.integers(0, 60)
SPECS = st.lists(
    st.tuples(NUMBERS, NUMBERS).map(sorted).map(lambda ends: f"{ends[0]}-{ends[1]}")
    | NUMBERS.map(lambda start: f"{start}-")
    | NUMBERS.map(lambda last: f"-{last}"),
    min_size=1,
    max_size=6,
)


def _bytes_of(spec: str, size_bytes: int) -> set[int]:
    """Return the positions that a range names, one by one."""
    first, last = spec.split("-")
    everything = range(size_bytes)
    if not first:
        return set(everything[-int(last) :]) if int(last) else set()
    return {at for at in everything if int(first) <= at and (not last or at <= int(last))}


@given(specs=SPECS, size_bytes=st.integers(0, 50))
def test_spans_are_exactly_the_bytes_that_were_asked_for(specs: list[str], size_bytes: int) -> None:
    """Promise 1: a partial answer holds the positions named, in the order named, or all is sent."""
    named = [positions for spec in specs if (positions := _bytes_of(spec, size_bytes))]
    decision = decide({"Range": "bytes=" + ",".join(specs)}, etag=ETAG, size_bytes=size_bytes)
    match decision:
        case Partial(spans):
            assert [set(range(span.start, span.stop)) for span in spans] == named
        case Unsatisfiable():
            assert not named
        case _:
            assert decision == Whole()
            less = sum(map(len, named)) > size_bytes
            assert less or not size_bytes, "all is sent where it is less than the parts"


@given(asked=st.text(max_size=40) | st.from_regex(r"bytes=[-0-9, ]*", fullmatch=True))
def test_any_range_header_is_decided(asked: str) -> None:
    """Promise 9: no header of a client raises, and no span leaves the blob."""
    decision = decide({"Range": asked}, etag=ETAG, size_bytes=1000)
    if isinstance(decision, Partial):
        assert all(0 <= span.start < span.stop <= 1000 for span in decision.spans)


@given(field=st.text(max_size=60), name=st.sampled_from(["If-Match", "If-None-Match", "If-Range"]))
def test_any_validator_is_decided(field: str, name: str) -> None:
    """Promise 9: no header of a client raises."""
    decide({name: field, "Range": "bytes=0-0"}, etag=ETAG, size_bytes=1000)
