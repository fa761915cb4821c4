"""The header lines of a push fit through proxies, whatever the tags and warnings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blobd.registry.http.header_lines import push_headers

_TAGS = st.lists(
    st.text("abcXYZ019._-", min_size=1, max_size=128).map(lambda tag: f"t{tag}"[:128]), max_size=100
)


@given(_TAGS, st.lists(st.text(max_size=600), max_size=40))
def test_all_tags_are_named_or_a_warning_says_how_many_are_not(
    tags: list[str], warnings: list[str]
) -> None:
    lines = list(push_headers(tags, warnings))
    assert len(lines) <= 25
    assert sum(len(name) + len(value) + 4 for name, value in lines) <= 7_500
    named = [tag for name, value in lines if name == "OCI-Tag" for tag in value.split(", ")]
    expected = list(dict.fromkeys(tags))
    assert named == expected[: len(named)]
    said = [value for name, value in lines if name == "Warning"]
    assert ("OCI-Tag has room for" in "".join(said[:1])) == (named != expected)


def test_forty_of_the_longest_tags_are_all_named() -> None:
    tags = [f"{number:03}".ljust(128, "x") for number in range(40)]
    lines = list(push_headers(tags, ()))
    assert ", ".join(value for _, value in lines).split(", ") == tags


def test_a_hundred_of_the_longest_are_too_many_to_name() -> None:
    tags = [f"{number:03}".ljust(128, "x") for number in range(100)]
    *lines, warning = push_headers(tags, ())
    count = len(", ".join(value for _, value in lines).split(", "))
    assert warning == (
        "Warning",
        f'299 - "all 100 tags are set; OCI-Tag has room for {count} of them"',
    )
    assert count > 40
