"""What pages are made of: escaped text, own files only, the same answer for hidden and missing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blobd.digest import Digest
from blobd.registry.catalog.browse import NamedDigest
from blobd.registry.catalog.indexes import Parent
from blobd.registry.catalog.packages import Package
from blobd.registry.catalog.versions import Version
from blobd.registry.names import RepositoryName
from blobd.registry.packages.browse import Attachment, Child, Detail, TagEntry, TagPage
from blobd.registry.pages import render
from blobd.registry.pages.view_models import (
    Around,
    OwnerFacts,
    Paging,
    TagsFacts,
    VersionFacts,
    VersionsFacts,
)

HOST = "registry.example.org"
DIGEST = Digest("sha256", "a" * 64)
OTHER = Digest("sha256", "b" * 64)
AROUND = Around(host=HOST)
VERSION = Version(
    version_id=7,
    digest=DIGEST,
    tags=("v1", "latest"),
    platforms=("linux/amd64", "linux/arm64"),
    artifact_type=None,
    description=None,
    licences=None,
    size_bytes=123_456_789,
    created_at=1_700_000_000,
    updated_at=1_700_000_000,
    downloads=1234,
    last_pulled_at=None,
    deleted_at=None,
    parents=(),
    children=(),
)
PACKAGE = Package(
    package_id=1,
    repository=RepositoryName("acme/tools/server"),
    owner="acme",
    owner_kind="organisation",
    owner_id=1,
    name="tools/server",
    visibility="public",
    inherits=False,
    source_id=1,
    source="acme/code",
    immutable_tags=False,
    sparse_indexes=False,
    description="A small server",
    licences="MIT",
    source_url="https://example.org/acme/server",
    downloads=1234,
    version_count=1,
    created_at=0,
    updated_at=1_700_000_000,
    deleted_at=None,
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


def tags_of(version: Version) -> TagPage:
    names = [NamedDigest(name, version.digest, version.updated_at) for name in version.tags]
    latest = next((tag for tag in names if tag.name == "latest"), names[0])
    return TagPage([TagEntry(tag, version) for tag in names], len(names), latest, {})


def shown(package: Package = PACKAGE, version: Version = VERSION, visitor: str = "") -> Reader:
    """Read the page of a package's tags."""
    facts = TagsFacts(package, tags_of(version))
    around = replace(AROUND, visitor=visitor)
    return Reader(render.render("tags.html", around, facts=facts, view="tags"))


def listed(*versions: Version) -> str:
    """Return the text of the page of all versions."""
    facts = VersionsFacts(PACKAGE, versions)
    page = Reader(render.render("versions.html", AROUND, facts=facts, view="versions"))
    return " ".join(page.text.split())


def test_a_package_page_has_all_that_is_known() -> None:
    """Description, licence, source, linked repository, visibility, times, commands."""
    page = shown()
    for text in (
        "A small server", "MIT", "https://example.org/acme/server", "public", "v1", "latest",
        "linux/amd64, linux/arm64", "123 MB", "2023-11-14 22:13 UTC", "1,234 downloads",
        "acme/code",
        f"docker pull {HOST}/acme/tools/server:latest",
        f"docker pull {HOST}/acme/tools/server@{DIGEST}",
        f"FROM {HOST}/acme/tools/server:v1",
    ):  # fmt: skip
        assert text in page.text
    assert page.open == []
    times = [attributes["datetime"] for tag, attributes in page.tags if tag == "time"]
    assert set(times) == {"2023-11-14T22:13:20Z"}


def test_what_to_copy_is_on_the_buttons() -> None:
    """Copyable commands by tag and by digest."""
    copied = [attributes.get("data-copy") for tag, attributes in shown().tags if tag == "button"]
    assert f"docker pull {HOST}/acme/tools/server:latest" in copied
    assert f"docker pull {HOST}/acme/tools/server@{DIGEST}" in copied


NASTY = "<script>alert(1)</script>\"' onload=x <img src=x onerror=y> {{ 7 * 7 }} &amp;"


def test_text_of_users_is_text() -> None:
    """All user text is escaped: description, licence, tags, types, names."""
    package = replace(PACKAGE, description=NASTY, licences=NASTY, name=NASTY)
    version = replace(VERSION, tags=(NASTY,), artifact_type=NASTY, platforms=(NASTY,))
    page = shown(package, version, visitor=NASTY)
    assert page.text.count(NASTY) >= 6
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert [set(attributes) for attributes in scripts] == [{"src", "defer"}]
    assert not [tag for tag, _ in page.tags if tag == "img"]


@settings(max_examples=50)
@given(st.text(), st.text(), st.text())
def test_no_text_makes_an_element(description: str, name: str, tag: str) -> None:
    """The elements of a page do not depend on what users have written."""
    package = replace(PACKAGE, description="d" + description, name="n" + name)
    page = shown(package, replace(VERSION, tags=("t" + tag,)))
    plain = shown(replace(PACKAGE, description="d", name="n"), replace(VERSION, tags=("t",)))
    assert [name for name, _ in page.tags] == [name for name, _ in plain.tags]


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
    assert f"/packages/-/{style.tag}/style.css" in render.render("missing.html", AROUND)
    assert render.asset("../render.py") is None


def test_an_owner_with_nothing_to_see() -> None:
    """An empty list says nothing about what is hidden."""
    empty = OwnerFacts("acme", "organisation", ())
    assert "no package here that you can see" in render.render("owner.html", AROUND, owner=empty)


def test_an_owners_list_links_its_packages() -> None:
    """Names with slashes too, and pages of a long list that keep what was searched for."""
    package = replace(PACKAGE, visibility="private", downloads=1)
    facts = OwnerFacts("acme", "user", (package,), "a&b", Paging(2, 3, {"q": "a&b"}))
    page = Reader(render.render("owner.html", AROUND, owner=facts))
    targets = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert "/packages/acme/tools/server" in targets
    assert {"?q=a%26b&page=1", "?q=a%26b&page=3"} <= set(targets)
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
    assert text in shown(version=replace(VERSION, size_bytes=size_bytes)).text


def test_a_version_of_ten_thousand_tags_shows_the_first() -> None:
    tags = tuple(f"t{number:05}" for number in range(10_000))
    text = listed(replace(VERSION, tags=tags))
    assert "t00019" in text
    assert "t00020" not in text
    assert "and 9,980 more" in text


def test_parts_of_an_index_are_not_untagged() -> None:
    """What nobody tagged and no index lists is untagged."""
    parents = (Parent(OTHER, ("v1",)), Parent(DIGEST, ()))
    text = listed(VERSION, replace(VERSION, tags=(), parents=parents))
    assert "untagged" not in text
    assert f"part of v1 {str(DIGEST)[:19]}" in text
    assert "untagged" in listed(replace(VERSION, tags=()))


def test_a_version_page_has_its_platforms_and_what_signs_them() -> None:
    """Each platform with digest, size and commands; attestations beside what they are about."""
    child = replace(VERSION, version_id=8, digest=OTHER, tags=(), size_bytes=5_000)
    gone = Digest("sha256", "c" * 64)
    detail = Detail(
        version=VERSION,
        children=(Child(OTHER, "linux/arm64", child), Child(gone, "linux/s390x", None)),
        child_count=3,
        attached={
            DIGEST: [Attachment(OTHER, "signature", 9)],
            OTHER: [Attachment(gone, "attestation", None)],
        },
        subject=None,
        parents=(),
    )
    facts = VersionFacts(PACKAGE, detail)
    page = Reader(render.render("version.html", AROUND, facts=facts, view="versions"))
    text = " ".join(page.text.split())
    for wanted in (
        str(DIGEST), str(OTHER), "linux/arm64", "5.0 kB", "linux/s390x not here", "and 1 more",
        "signature sha256:bbbbbbbbbbbb", "attestation sha256:cccccccccccc",
        f"docker pull {HOST}/acme/tools/server@{OTHER}", f"FROM {HOST}/acme/tools/server@{OTHER}",
        f"FROM {HOST}/acme/tools/server:v1",
    ):  # fmt: skip
        assert wanted in text
    targets = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert "/packages/acme/tools/server/-/versions/8" in targets
    assert "/packages/acme/tools/server/-/versions/9" in targets
    assert page.open == []
