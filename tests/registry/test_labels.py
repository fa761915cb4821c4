"""Labels that describe a package, and those that only try to."""

from __future__ import annotations

import json
import re

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
        (SOURCE, "https://exa\rmple.org/acme/app"),
        (SOURCE, "https://exam\nple.org/acme/app"),
        (SOURCE, "https://exam\tple.org/acme/app"),
        (SOURCE, "https://exam\0ple.org/acme/app"),
        (SOURCE, "https://exam\ud800ple.org/acme/app"),
        (SOURCE, "https://exam\u202eple.org/acme/app"),
        (SOURCE, "https://exam ple.org/acme/app"),
        (SOURCE, 'https://exam"ple.org/acme/app'),
        (SOURCE, "https://exam'ple.org/acme/app"),
        (SOURCE, "https://exam<ple>.org/acme/app"),
        (SOURCE, "https://exam\\ple.org/acme/app"),
        (SOURCE, "https://exam%00ple.org/acme/app"),
        (SOURCE, "https://exam^ple|.org/acme/app"),
        (SOURCE, "https://example.org:port/acme/app"),
        (SOURCE, "https://example.org:65536/acme/app"),
        (SOURCE, "https://@example.org/acme/app"),
        (SOURCE, "https://a..b/acme/app"),
        (SOURCE, "https://" + "a" * 64 + ".org/acme/app"),
        (SOURCE, "https://" + "a." * 127 + "org/acme/app"),
        (SOURCE, "https://256.1.1.1/acme/app"),
        (SOURCE, "https://1.2.3/acme/app"),
        (SOURCE, "https://example.0x7f/acme/app"),
        (SOURCE, "https://[::1%25lo]/acme/app"),
        (SOURCE, "https://[::g]/acme/app"),
        (SOURCE, "https://xn--/acme/app"),
        (SOURCE, "https://xn--a-\u00fc/acme/app"),
        (SOURCE, "https:///acme/app"),
    ],
)
def test_what_does_not_fit_is_warned_of_and_left_out(label: str, value: str) -> None:
    """Over-long or malformed values never fail a push; a warning names the label."""
    found = describe({label: value})
    assert (found.text, found.licences, found.source) == (None, None, None)
    (warning,) = found.warnings
    assert label in warning


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://Git.Example.ORG/acme/app", "https://git.example.org/acme/app"),
        ("https://git.example:443/acme/app", "https://git.example/acme/app"),
        ("http://git.example:443/acme/app", "http://git.example:443/acme/app"),
        ("https://git.example:/acme/app", "https://git.example/acme/app"),
        ("https://bücher.example/acme/app", "https://xn--bcher-kva.example/acme/app"),
        ("https://BÜCHER。example/acme/app", "https://xn--bcher-kva.example/acme/app"),
        ("https://xn--bcher-kva.example/acme/app", "https://xn--bcher-kva.example/acme/app"),
        ("http://git_server.lan:3000/acme/app", "http://git_server.lan:3000/acme/app"),
        ("http://127.0.0.1:3000/acme/app", "http://127.0.0.1:3000/acme/app"),
        ("http://[2001:DB8:0::1]:3000/acme/app", "http://[2001:db8::1]:3000/acme/app"),
        ("https://git.example./acme/app", "https://git.example./acme/app"),
    ],
)
def test_the_host_of_a_source_is_the_url_standards(url: str, clean: str) -> None:
    """Each host in the one form that browsers give it."""
    found = describe({SOURCE: url})
    assert found.warnings == ()
    assert found.source is not None
    assert found.source.url == clean


@pytest.mark.parametrize("label", [DESCRIPTION, LICENCES, SOURCE])
@pytest.mark.parametrize("value", ["", "  "])
def test_nothing_is_nothing(label: str, value: str) -> None:
    """An empty label is no mistake."""
    assert describe({label: value}) == Description()


@pytest.mark.parametrize("length", [512, 511])
def test_the_limit_is_inclusive(length: int) -> None:
    """Up to 512 characters."""
    assert describe({DESCRIPTION: "ü" * length}).text == "ü" * length


def test_what_is_too_long_is_cut_with_a_mark_and_a_warning() -> None:
    """Most clients print no warning; the mark is seen on the page."""
    found = describe({DESCRIPTION: "ü" * 513, LICENCES: "MIT OR " + "M" * 300})
    assert found.text == "ü" * 511 + "…"
    assert found.licences == "MIT OR " + "M" * 248 + "…"
    assert found.warnings == (
        f"{DESCRIPTION} has 513 characters and is cut after 512",
        f"{LICENCES} has 307 characters and is cut after 256",
    )


@given(st.text(max_size=512))
def test_a_description_is_one_line_of_plain_text(text: str) -> None:
    """No control characters, no direction marks, whatever was pushed."""
    found = describe({DESCRIPTION: text}).text or ""
    assert found == " ".join(found.split())
    assert found.isprintable()


@given(st.text(st.characters(), max_size=20), st.text(max_size=8))
def test_whatever_stands_for_a_host_links_to_a_host(host: str, port: str) -> None:
    """No link leads to what the URL standard reads otherwise, and none holds a strange letter."""
    found = describe({SOURCE: f"https://{host}:{port}/acme/app"}).source
    if found is not None:
        assert re.fullmatch(r"https://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?/acme/app", found.url)


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
