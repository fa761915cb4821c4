"""Texts that some database does not take: refused or left out in words, on every database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from blobd.database import texts
from blobd.errors import TextInvalid
from blobd.registry.catalog import accounts, audit
from blobd.registry.catalog import packages as package_rows
from blobd.registry.catalog.audit import Entry
from blobd.registry.catalog.auth_queries import AuthQueries
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.catalog.repositories import find_repository
from blobd.registry.catalog.tables import accounts as account_table
from blobd.registry.labels import DESCRIPTION, LICENCES, SOURCE
from blobd.registry.media_types import OCI_INDEX, OCI_MANIFEST
from blobd.registry.names import RepositoryName, Tag
from tests.registry.acts import CONFIG_TYPE, LAYER_TYPE, asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.database import Catalog, Transaction
    from tests.registry.protocol import Registry

SUBJECT = "sha256:" + "ef" * 32
UNTAKEN = ["\0", "a\0b", "\ud800", "x\udfffy"]

hostile = st.one_of(
    st.text(st.characters(), max_size=12),
    st.text(st.sampled_from('\0\ud800\udc00\udfff\u202e\r\n"<>@:/[]% a.-1'), max_size=12),
    st.sampled_from(["", "x/" + "y" * 254, "x" * 600, "\0", "\ud800", "1" * 5000]),
)
"""Texts as JSON can spell them: NUL, halves of surrogate pairs, controls, long ones."""
hostile_url = st.builds(
    "https://{}{}/{}/{}".format, hostile, hostile, hostile, st.just("app") | hostile
)
against_a_daemon = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("untaken", UNTAKEN)
def test_what_none_takes_is_found_and_can_be_replaced(untaken: str) -> None:
    assert texts.problem(untaken) is not None
    assert texts.problem(texts.taken(untaken)) is None
    assert "\ufffd" in texts.taken(untaken)


def test_a_text_has_the_room_of_its_column() -> None:
    assert texts.problem("ü" * 5, most=5) is None
    assert texts.problem("ü" * 6, most=5) == "has 6 characters, of which 5 are taken"
    assert texts.taken("ü" * 6, most=5) == "ü" * 5
    assert texts.problem("ü" * 600_000) is None


def _looked_for(untaken: str) -> Callable[[Transaction], object]:
    query = select(account_table.c.id).where(account_table.c.name == untaken)
    return lambda transaction: transaction.execute(query)


@pytest.mark.parametrize("untaken", UNTAKEN)
async def test_no_statement_gets_such_a_text(catalog: Catalog, untaken: str) -> None:
    """Whichever way a statement takes, its values are held to the same rule."""
    name = RepositoryName(untaken)
    works: list[Callable[[Transaction], object]] = [
        _looked_for(untaken),
        lambda transaction: find_repository(transaction, name),
        lambda transaction: package_rows.change_package(transaction, 1, description=untaken),
        lambda transaction: transaction.execute(text("SELECT :x"), {"x": untaken}),
        lambda transaction: accounts.insert_account(
            transaction, untaken, "user", is_administrator=False, now=0
        ),
    ]
    for work in works:
        with pytest.raises(TextInvalid):
            await catalog.write(work)
    with pytest.raises(TextInvalid):
        await catalog.read(works[0])
    with pytest.raises(TextInvalid):
        await ReadQueries(catalog.reader).tagged(name, Tag("latest"))
    with pytest.raises(TextInvalid):
        await AuthQueries(catalog.reader).token_by_hash(untaken)


async def test_no_column_gets_a_longer_text_than_it_has_room_for(catalog: Catalog) -> None:
    """PostgreSQL refuses it, SQLite would not."""

    def insert(name: str) -> Callable[[Transaction], bool]:
        return lambda transaction: accounts.insert_account(
            transaction, name, "user", is_administrator=False, now=0
        )

    with pytest.raises(TextInvalid, match="has 101 characters"):
        await catalog.write(insert("a" * 101))
    assert await catalog.write(insert("a" * 100))


async def test_the_audit_takes_whatever_was_done(catalog: Catalog) -> None:
    """An entry that could not be written would keep all others from being written."""
    entry = Entry(1.0, "a\0" + "b" * 300, "push", "\ud800", detail="\0" * 70_000, address="c" * 65)
    await catalog.write(lambda transaction: audit.write_entries(transaction, [entry]))
    assert await asked(catalog, "SELECT address FROM audit") == ["c" * 64]
    assert await asked(catalog, "SELECT actor FROM audit") == ["a\ufffd" + "b" * 253]


def _check(registry: Registry, name: str, content: object, media_type: str) -> None:
    """Push what may be taken or refused; all that it is shown in stands afterwards."""
    # some of it is no I-JSON, which is spelled in ASCII here
    answer = registry.put_manifest(name, "v1", json.dumps(content).encode(), media_type)
    assert answer.status in {201, 400}, answer.body
    if answer.status == 400:
        assert answer.codes[0] in {"MANIFEST_INVALID", "MANIFEST_BLOB_UNKNOWN"}
    for path in (f"/v2/{name}/referrers/{SUBJECT}", f"/packages/{name}", "/packages/test"):
        assert registry.get(path).status in {200, 404}


@against_a_daemon
@given(st.data())
def test_any_text_in_a_manifest_is_taken_or_refused(
    registry: Registry, name: str, data: st.DataObject
) -> None:
    """Every text of a manifest that reaches a column, and those around it."""
    config, layer = registry.push(name, b"{}"), registry.push(name, b"layer")
    content: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": CONFIG_TYPE, "digest": config, "size": 2},
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": 5}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": SUBJECT, "size": 7},
        "annotations": {},
    }
    places: list[Callable[[str], object]] = [
        lambda value: content.update(artifactType=value),
        lambda value: content["config"].update(mediaType=value),
        lambda value: content["layers"][0].update(mediaType=value),
        lambda value: content["layers"][0].update(digest=value),
        lambda value: content["subject"].update(mediaType=value),
        lambda value: content["subject"].update(digest=value),
        lambda value: content["annotations"].update({value: value}),
        lambda value: content["annotations"].update({DESCRIPTION: value}),
        lambda value: content["annotations"].update({LICENCES: value}),
        lambda value: content["annotations"].update({SOURCE: value}),
        lambda value: content.update({value: {"digest": layer, "mediaType": value, "size": 5}}),
    ]
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        place(data.draw(hostile | hostile_url))
    kinds = st.sampled_from([OCI_MANIFEST, OCI_MANIFEST, "application/vnd.example+json"])
    kind = data.draw(kinds)
    if kind != OCI_MANIFEST:
        del content["mediaType"]
    _check(registry, name, content, kind)


@against_a_daemon
@given(
    labels=st.dictionaries(st.sampled_from([DESCRIPTION, LICENCES, SOURCE]), hostile | hostile_url),
    platform=st.fixed_dictionaries({"os": hostile, "architecture": hostile, "variant": hostile}),
)
def test_no_label_fails_a_push(
    registry: Registry, name: str, labels: dict[str, str], platform: dict[str, str]
) -> None:
    """What an image's configuration says is no part of the manifest: left out, with a warning."""
    config = json.dumps({"config": {"Labels": labels}, **platform}).encode()
    layer = registry.push(name, b"layer")
    digest = registry.push(name, config)
    content = {
        "schemaVersion": 2,
        "config": {"mediaType": CONFIG_TYPE, "digest": digest, "size": len(config)},
        "layers": [{"mediaType": LAYER_TYPE, "digest": layer, "size": 5}],
    }
    answer = registry.put_manifest(name, "v1", json.dumps(content).encode(), OCI_MANIFEST)
    assert answer.status == 201, answer.body
    assert registry.get(f"/packages/{name}").status in {200, 404}


@against_a_daemon
@given(hostile)
def test_any_annotation_of_an_index_is_taken_or_refused(
    registry: Registry, name: str, value: str
) -> None:
    """An index is described by its annotations."""
    content = {
        "schemaVersion": 2,
        "manifests": [],
        "artifactType": value,
        "annotations": {DESCRIPTION: value, SOURCE: f"https://{value}/a/b", value: value},
        "subject": {"digest": SUBJECT},
    }
    _check(registry, name, content, OCI_INDEX)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/te%00st/app/manifests/v1",
        "/v2/test/app/manifests/v%00",
        "/v2/test/app/manifests/%ED%A0%80",
        "/v2/test/app/tags/list?last=%ED%A0%80",
        "/v2/test/app/tags/list?last=%00",
        f"/v2/test/app/referrers/{SUBJECT}?artifactType=%ED%A0%80%00",
        "/v2/_catalog?last=%00",
        "/v2/test/app/blobs/uploads/%00",
        "/packages/te%00st",
        "/packages/%ED%A0%80",
        "/packages/test/a%00pp",
        "/packages/test/app?page=%00",
        "/token?account=%00&service=%00&scope=%00&scope=repository:%00:pull",
        "/api/users/te%00st/packages?package_type=container",
        "/api/audit?actor=%00",
    ],
)
def test_no_such_text_in_a_path_or_a_query_is_a_fault(registry: Registry, path: str) -> None:
    """Percent-encoded, a request can say any byte."""
    for method in ("GET", "DELETE"):
        answer = registry.send(method, path)
        assert answer.status < 500, (method, path, answer.body)
