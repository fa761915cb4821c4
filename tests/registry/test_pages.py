"""What pages are made of: escaped text, own files only, the same answer for hidden and missing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobd.digest import Digest
from blobd.registry.pages import render
from blobd.registry.pages.facts import OwnerFacts, PackageFacts, PackageRow, VersionRow

HOST = "registry.example.org"
DIGEST = Digest("sha256", "a" * 64)
VERSION = VersionRow(
    digest=DIGEST,
    tags=("v1", "latest"),
    platforms=("linux/amd64", "linux/arm64"),
    artifact_type=None,
    size_bytes=123_456_789,
    pushed_at=1_700_000_000,
    downloads=1234,
)
PACKAGE = PackageFacts(
    owner="acme",
    name="tools/server",
    visibility="public",
    description="A small server",
    licences="MIT",
    source_url="https://example.org/acme/server",
    downloads=1234,
    version_count=1,
    versions=(VERSION,),
    page=1,
    pages=1,
)


class Reader(HTMLParser):
    """Every tag, attribute and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "input"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(facts: PackageFacts = PACKAGE, visitor: str = "") -> Reader:
    return Reader(render.render_package(facts, host=HOST, visitor=visitor))


def test_a_package_page_has_all_that_is_known() -> None:
    """Issue 5, item 8: description, licence, source, visibility, versions, commands."""
    page = shown()
    for text in (
        "A small server", "MIT", "https://example.org/acme/server", "public", "v1", "latest",
        "linux/amd64, linux/arm64", "123 MB", "2023-11-14", "1,234 downloads",
        f"docker pull {HOST}/acme/tools/server:latest",
        f"docker pull {HOST}/acme/tools/server@{DIGEST}",
    ):  # fmt: skip
        assert text in page.text
    assert page.open == []


def test_what_to_copy_is_on_the_buttons() -> None:
    """Copyable commands by tag and by digest."""
    copied = [attributes.get("data-copy") for tag, attributes in shown().tags if tag == "button"]
    assert f"docker pull {HOST}/acme/tools/server:latest" in copied
    assert f"docker pull {HOST}/acme/tools/server@{DIGEST}" in copied


NASTY = "<script>alert(1)</script>\"' onload=x <img src=x onerror=y> {{ 7 * 7 }} &amp;"


def test_text_of_users_is_text() -> None:
    """All user text is escaped: description, licence, tags, types, names."""
    facts = replace(
        PACKAGE,
        description=NASTY,
        licences=NASTY,
        name=NASTY,
        versions=(replace(VERSION, tags=(NASTY,), artifact_type=NASTY, platforms=(NASTY,)),),
    )
    page = shown(facts, visitor=NASTY)
    assert page.text.count(NASTY) >= 6
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert [set(attributes) for attributes in scripts] == [{"src", "defer"}]
    assert not [tag for tag, _ in page.tags if tag == "img"]


@settings(max_examples=50)
@given(st.text(), st.text(), st.text())
def test_no_text_makes_an_element(description: str, name: str, tag: str) -> None:
    """The elements of a page do not depend on what users have written."""
    facts = replace(
        PACKAGE,
        description="d" + description,
        name="n" + name,
        versions=(replace(VERSION, tags=("t" + tag,)),),
    )
    plain = replace(PACKAGE, description="d", name="n", versions=(replace(VERSION, tags=("t",)),))
    assert [name for name, _ in shown(facts).tags] == [name for name, _ in shown(plain).tags]


def test_a_page_loads_nothing_from_elsewhere_and_runs_nothing_inline() -> None:
    """A strict Content-Security-Policy, and pages that live by it."""
    policy = render.HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, attributes in shown().tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href"):
            target = attributes.get(name)
            if target and tag in {"script", "link", "img"}:
                assert re.fullmatch(r"/packages/-/[0-9a-f]{16}/[a-z]+\.[a-z]+", target)


def test_files_are_named_by_their_content() -> None:
    """What a URL names never changes, so it may be cached for ever."""
    style = render.asset("style.css")
    assert style is not None
    assert style.media_type == "text/css"
    assert f"/packages/-/{style.tag}/style.css" in render.render_missing(host=HOST, visitor="")
    assert render.asset("../render.py") is None


def test_an_owner_with_nothing_to_see() -> None:
    """An empty list says nothing about what is hidden."""
    empty = OwnerFacts("acme", "organisation", (), 1, 1)
    assert "no package here that you can see" in render.render_owner(empty, host=HOST, visitor="")


def test_an_owners_list_links_its_packages() -> None:
    """Names with slashes too, and pages of a long list."""
    rows = (PackageRow("tools/server", "private", None, 1, 0),)
    page = Reader(
        render.render_owner(OwnerFacts("acme", "user", rows, 2, 3), host=HOST, visitor="ada")
    )
    targets = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert "/packages/acme/tools/server" in targets
    assert {"?page=1", "?page=3"} <= set(targets)
    assert "1 download" in page.text
    assert "1 downloads" not in page.text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_949, "99.9 kB"), (999_499, "999 kB"),
        (999_500, "1.0 MB"), (123_456_789, "123 MB"), (10**10, "10.0 GB"), (10**16, "10000 TB"),
    ],
)  # fmt: skip
def test_sizes_read_as_docker_prints_them(size_bytes: int, text: str) -> None:
    """Powers of 1000, three figures."""
    assert text in shown(replace(PACKAGE, versions=(replace(VERSION, size_bytes=size_bytes),))).text


def test_a_version_of_ten_thousand_tags_shows_the_first() -> None:
    tags = tuple(f"t{number:05}" for number in range(10_000))
    page = render.render_package(
        replace(PACKAGE, versions=(replace(VERSION, tags=tags),)), host=HOST, visitor=""
    )
    text = Reader(page).text
    assert "t00019" in text
    assert "t00020" not in text
    assert "and 9,980 more" in text


def test_children_of_an_index_are_its_parts_and_not_untagged() -> None:
    """What nobody tagged and no index lists is untagged."""
    child = replace(VERSION, tags=(), part_of=("v1", DIGEST))
    parent = replace(VERSION, children=(DIGEST,))
    stray = replace(VERSION, tags=())
    facts = replace(PACKAGE, versions=(parent, child))
    page = render.render_package(facts, host=HOST, visitor="")
    text = " ".join(Reader(page).text.split())
    assert "untagged" not in text
    assert f"part of v1 {str(DIGEST)[:19]}" in text
    assert f"Lists {str(DIGEST)[:19]}" in text
    page = render.render_package(replace(PACKAGE, versions=(stray,)), host=HOST, visitor="")
    assert "untagged" in Reader(page).text
