"""Digests and spans: what is read, what is refused, and that printing gives it back (R13, R31)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.digest import SUPPORTED_ALGORITHMS, Digest, MalformedDigest, Span

HEX = "0123456789abcdef"
GOOD = [
    "sha256:" + "a" * 64,
    "sha512:" + "0" * 128,
    "blake3:" + "f" * 64,
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564=",
    "a:b",
    "a.b_c-d+e1:A=_-",
]
BAD = [
    "",
    ":",
    "sha256",
    "sha256:",
    ":" + "a" * 64,
    "sha256:" + "a" * 63,
    "sha256:" + "a" * 65,
    "sha256:" + "A" * 64,
    "sha256:" + "g" * 64,
    "sha512:" + "a" * 64,
    "blake3:" + "a" * 128,
    "SHA256:" + "a" * 64,
    "sha256 :" + "a" * 64,
    " sha256:" + "a" * 64,
    "sha256:" + "a" * 64 + "\n",
    "sha256:" + "a" * 64 + "/../../etc",
    "sha-256-:" + "a" * 64,
    "+a:b",
    "a..b:c",
    "a:b:c",
    "a:b/c",
    "a:b.c",
    "a:" + "b" * 254,
    "sha256:" + "\N{ARABIC-INDIC DIGIT ONE}" * 64,
]


class TestDigest:
    @pytest.mark.parametrize("text", GOOD)
    def test_what_the_grammar_allows_is_read_and_printed_again(self, text: str) -> None:
        """R13: algorithm and encoded part, also of algorithms that blobd does not know."""
        assert str(Digest.parse(text)) == text

    @pytest.mark.parametrize("text", BAD)
    def test_anything_else_is_refused(self, text: str) -> None:
        """R13; section 7: malformed digest."""
        with pytest.raises(MalformedDigest) as raised:
            Digest.parse(text)
        assert raised.value.text == text
        assert isinstance(raised.value, ValueError)

    def test_a_refusal_stays_short_and_on_one_line(self) -> None:
        """errors.py: messages are for people; what a client sends is not echoed at length."""
        with pytest.raises(MalformedDigest) as raised:
            Digest.parse("x\n" * 100_000)
        assert len(str(raised.value)) < 500
        assert "\n" not in str(raised.value)

    @given(st.text(max_size=300))
    def test_no_text_is_too_strange(self, text: str) -> None:
        """A digest or MalformedDigest, and a digest is always fit for a path."""
        try:
            digest = Digest.parse(text)
        except MalformedDigest:
            return
        assert str(digest) == text
        assert re.fullmatch(r"[a-z0-9+._-]+", digest.algorithm)
        assert re.fullmatch(r"[A-Za-z0-9=_-]+", digest.encoded)

    @given(st.sampled_from(["sha256", "blake3"]), st.text(HEX, min_size=64, max_size=64))
    def test_every_hash_is_read(self, algorithm: str, encoded: str) -> None:
        """R13."""
        digest = Digest.parse(f"{algorithm}:{encoded}")
        assert (digest.algorithm, digest.encoded) == (algorithm, encoded)
        assert digest.supported

    def test_supported_are_the_algorithms_of_the_image_spec(self) -> None:
        """Words: sha256, sha512, blake3."""
        assert set(SUPPORTED_ALGORITHMS) == {"sha256", "sha512", "blake3"}
        assert not Digest.parse("md5:00").supported

    def test_digests_are_values_in_the_order_of_listings(self) -> None:
        """Digest: equal digests name equal bytes; by algorithm, then by hash."""
        digests = [Digest("sha512", "0"), Digest("sha256", "b"), Digest("sha256", "a")]
        assert sorted(digests) == digests[::-1]
        assert len({Digest("a", "b"), Digest("a", "b")}) == 1
        assert sorted(map(str, digests)) == [str(digest) for digest in sorted(digests)]


class TestSpan:
    @pytest.mark.parametrize(
        ("text", "span"),
        [
            ("0-0", Span(0, 1)),
            ("0-99", Span(0, 100)),
            ("100-100", Span(100, 101)),
            ("0-9999999999999999999", Span(0, 10**19)),
        ],
    )
    def test_a_wire_range_is_inclusive(self, text: str, span: Span) -> None:
        """R31."""
        assert Span.parse(text) == span
        assert str(span) == text
        assert span.size_bytes == span.stop - span.start

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "-",
            "0",
            "0-",
            "-5",
            "5-4",
            "0-1-2",
            "a-b",
            " 0-1",
            "0-1 ",
            "0-1\n",
            "+0-1",
            "0x0-1",
            "bytes 0-1/2",
            "bytes=0-1",
            "0-1/2",
            "1.0-2",
            "0-" + "9" * 20,
            "\u0661-\u0662",
        ],
    )
    def test_anything_else_is_refused(self, text: str) -> None:
        """R31, in blobd's words."""
        with pytest.raises(ValueError, match="byte range"):
            Span.parse(text)

    def test_nothing_prints_as_docker_expects(self) -> None:
        """Span: nothing at all prints as 0-0."""
        assert str(Span(0, 0)) == "0-0"
        assert Span(7, 7).size_bytes == 0

    @given(st.integers(0, 10**18), st.integers(1, 10**9))
    def test_printing_and_reading_agree(self, start: int, size_bytes: int) -> None:
        """Span: half-open inside, inclusive on the wire."""
        span = Span(start, start + size_bytes)
        assert Span.parse(str(span)) == span
