"""Labels that describe a package, and those that only try to (issue 5, item 5; ghcr.md 3)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.registry.labels import (
    DESCRIPTION,
    LICENCES,
    SOURCE,
    Description,
    describe,
    labels_of_config,
)


def test_a_whole_description() -> None:
    """Text, licences and source, without a warning."""
    found = describe(
        {
            DESCRIPTION: "A small server",
            LICENCES: "Apache-2.0 OR (MIT AND BSD-3-Clause)",
            SOURCE: "https://Example.org/Acme/App.git",
            "other": "ignored",
        }
    )
    assert (found.text, found.licences) == (
        "A small server",
        "Apache-2.0 OR (MIT AND BSD-3-Clause)",
    )
    assert found.source is not None
    assert found.source.url == "https://example.org/Acme/App"
    assert (found.source.host, found.source.owner, found.source.name) == (
        "example.org",
        "acme",
        "app",
    )
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (DESCRIPTION, "x" * 513),
        (LICENCES, "M" * 257),
        (LICENCES, "<b>MIT</b>"),
        (LICENCES, "MIT; DROP TABLE"),
        (SOURCE, "ftp://example.org/acme/app"),
        (SOURCE, "javascript:alert(1)"),
        (SOURCE, "https://example.org/acme"),
        (SOURCE, "https://example.org/acme/app/tree/main"),
        (SOURCE, "https://example.org/acme/%2e%2e"),
        (SOURCE, "https://user:pw@example.org/acme/app"),
        (SOURCE, "https://[example/acme/app"),
        (SOURCE, "https://example.org/" + "x" * 3000),
        (SOURCE, "acme/app"),
    ],
)
def test_what_does_not_fit_is_warned_of_and_left_out(label: str, value: str) -> None:
    """Over-long or malformed values never fail a push; a warning names the label."""
    found = describe({label: value})
    assert (found.text, found.licences, found.source) == (None, None, None)
    (warning,) = found.warnings
    assert label in warning


@pytest.mark.parametrize("label", [DESCRIPTION, LICENCES, SOURCE])
@pytest.mark.parametrize("value", ["", "  "])
def test_nothing_is_nothing(label: str, value: str) -> None:
    """An empty label is no mistake."""
    assert describe({label: value}) == Description()


@pytest.mark.parametrize("length", [512, 511])
def test_the_limit_is_inclusive(length: int) -> None:
    """Up to 512 characters."""
    assert describe({DESCRIPTION: "ü" * length}).text == "ü" * length


@given(st.text(max_size=512))
def test_a_description_is_one_line_of_plain_text(text: str) -> None:
    """No control characters, no direction marks, whatever was pushed."""
    found = describe({DESCRIPTION: text}).text or ""
    assert found == " ".join(found.split())
    assert found.isprintable()


@given(st.dictionaries(st.sampled_from([DESCRIPTION, LICENCES, SOURCE]), st.text()))
def test_whatever_is_pushed_is_described_or_warned_of(labels: dict[str, str]) -> None:
    """Never an error."""
    describe(labels)


def test_labels_are_read_from_an_images_configuration() -> None:
    """image-spec config.md: `config.Labels`."""
    content = json.dumps({"config": {"Labels": {DESCRIPTION: "here", "n": 1}}}).encode()
    assert labels_of_config(content) == {DESCRIPTION: "here"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"config": 1}',
        b'{"config": {"Labels": []}}',
        b"\xff",
        b"[" * 9999,
    ],
)
def test_what_is_no_configuration_has_no_labels(content: bytes) -> None:
    """Artifacts have configurations of any kind."""
    assert labels_of_config(content) == {}
