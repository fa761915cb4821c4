"""Names in the registry (R8-R10)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.digest import Digest, MalformedDigest
from blobd.registry.errors import NameInvalid, TagInvalid
from blobd.registry.names import parse_name, parse_reference, parse_tag

_words = st.text("abcxyz019", min_size=1, max_size=6)
_separators = st.sampled_from([".", "_", "__", "-", "---"])
_parts = st.lists(st.tuples(_words, _separators), min_size=1, max_size=3).map(
    lambda pairs: "".join(word + separator for word, separator in pairs) + "end"
)


@given(st.lists(_parts, min_size=1, max_size=4).map("/".join))
def test_every_name_of_the_grammar_is_taken(name: str) -> None:
    """R8."""
    assert parse_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        "A",
        "a/B",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a._b",
        ".",
        "..",
        "../../etc/passwd",
        "a/../b",
        "a/./b",
        "a b",
        "a\n",
        "a\x00",
        "ä",
        "a:b",
        "a@b",
        "a%2fb",
        "a" * 256,
    ],
)
def test_anything_else_is_no_name(text: str) -> None:
    """R8; and no name leads out of a folder."""
    with pytest.raises(NameInvalid):
        parse_name(text)


def test_a_name_has_at_most_255_characters() -> None:
    """R8: the note on lengths."""
    assert parse_name("a" * 255)


@given(st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True))
def test_every_tag_of_the_grammar_is_taken(tag: str) -> None:
    """R9."""
    assert parse_tag(tag) == tag


@pytest.mark.parametrize("text", ["", ".a", "-a", "a" * 129, "a/b", "a:b", "a b", "a\n", "ä", ".."])
def test_anything_else_is_no_tag(text: str) -> None:
    """R9."""
    with pytest.raises(TagInvalid):
        parse_tag(text)


def test_a_reference_with_a_colon_is_a_digest_and_never_a_tag() -> None:
    """R10."""
    assert parse_reference("sha256:" + "a" * 64) == Digest("sha256", "a" * 64)
    assert parse_reference("sha256-" + "a" * 64) == "sha256-" + "a" * 64
    with pytest.raises(MalformedDigest):
        parse_reference("sha256:baddigeststring")
