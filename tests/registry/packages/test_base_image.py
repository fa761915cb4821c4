"""A source label that came with a base image is told apart where that can be known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from blobd.registry.identity import accounts, sources
from blobd.registry.labels import SOURCE
from blobd.registry.names import RepositoryName
from blobd.registry.packages.base_image import came_along, named_base

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.registry.packages.conftest import Shop

_BASE = RepositoryName("ada/base")
_LABEL = "https://git.example/ada/base"
_ANNOTATIONS = {
    "org.opencontainers.image.base.name": "registry.example/ada/base:v1",
    "org.opencontainers.image.base.digest": "",
}
_SAID = "the label came with the base image ada/base:v1"
_COPY, _SETS = "COPY one /one # buildkit", f"LABEL {SOURCE}={_LABEL}"


def built(*steps: str, layers: Sequence[str] = ("sha256:one",)) -> dict[str, object]:
    """Return what a configuration says of how an image was built."""
    return {
        "rootfs": {"type": "layers", "diff_ids": list(layers)},
        "history": [{"created_by": step} for step in steps],
    }


def config(label: str | None, *steps: str, layers: Sequence[str] = ("sha256:one",)) -> bytes:
    labels = {} if label is None else {SOURCE: label}
    return json.dumps({"config": {"Labels": labels}, **built(*steps, layers=layers)}).encode()


_BELOW = config(_LABEL, _COPY, _SETS)
_TWO = ("sha256:one", "sha256:two")


@pytest.mark.parametrize(
    ("own", "below", "along"),
    [
        (config(_LABEL, _COPY, _SETS, "RUN two", layers=_TWO), _BELOW, True),
        (config(_LABEL, _COPY, _SETS), _BELOW, True),
        # a later step sets it, to whatever
        (config(_LABEL, _COPY, _SETS, _SETS, layers=_TWO), _BELOW, False),
        (config("https://git.example/ada/app", _COPY, _SETS, layers=_TWO), _BELOW, False),
        (config(None, _COPY, _SETS, "RUN two", layers=_TWO), _BELOW, False),
        # another image, or one that was squashed
        (config(_LABEL, _COPY, _SETS, "RUN two", layers=("sha256:two",)), _BELOW, False),
        (config(_LABEL, "squashed", layers=_TWO), _BELOW, False),
        (config(_LABEL, _COPY, layers=_TWO), _BELOW, False),
        # a base that says nothing of itself
        (config(_LABEL, _SETS, layers=_TWO), config(_LABEL, layers=("sha256:one",)), False),
        (config(_LABEL, _COPY, _SETS), config(_LABEL, _COPY, layers=()), False),
        (config(_LABEL, _COPY, _SETS), config(None, _COPY), False),
        (_BELOW, b"", False),
        (b'{"config": {"Labels": []}, "rootfs": {"diff_ids": 1}, "history": []}', _BELOW, False),
        (b'{"config": {"Labels": {}}, "rootfs": {"diff_ids": []}, "history": [1]}', _BELOW, False),
        (b"[" * 100_000, _BELOW, False),
    ],
)
def test_what_two_configurations_show(own: bytes, below: bytes, along: bool) -> None:
    assert came_along(SOURCE, own, below) is along


@pytest.mark.parametrize(
    ("name", "digest", "shown"),
    [
        ("registry.example/ada/base:v1", "", "ada/base:v1"),
        ("registry.example:5000/ada/base/deep", f"sha256:{'0' * 64}", "ada/base/deep@sha256:0"),
        (f"registry.example/ada/base:v1@sha256:{'1' * 64}", "", "ada/base:v1"),
        ("localhost/base:latest", "", "base:latest"),
        ("registry.example/ada/base:", "", None),
        ("", f"sha256:{'0' * 64}", None),
        ("x" * 2000, "", None),
    ],
)
def test_what_annotations_name(name: str, digest: str, shown: str | None) -> None:
    prefix = "org.opencontainers.image.base"
    found = named_base({f"{prefix}.name": name, f"{prefix}.digest": digest})
    if shown is None:
        assert found is None
    else:
        assert str(found).startswith(shown)


async def push_child(shop: Shop, **changes: Any) -> Sequence[str]:
    """Push an image built on the base; return what its pusher is warned of."""
    values: dict[str, Any] = {
        "labels": {SOURCE: _LABEL},
        "built": built(_COPY, _SETS, "RUN two", layers=_TWO),
        "annotations": _ANNOTATIONS,
    }
    await shop.push("latest", layer=b"two", **values | changes)
    return shop.warnings


async def push_base(shop: Shop, **more: Any) -> Any:
    labels: Mapping[str, str] = {SOURCE: _LABEL}
    return await shop.push(
        "v1", repository=_BASE, labels=labels, built=built(_COPY, _SETS), exists=False, **more
    )


async def test_the_pusher_is_told_whose_the_label_is(shop: Shop) -> None:
    await push_base(shop)
    (warning,) = await push_child(shop)
    assert "the package is not linked to it" in warning
    assert _SAID in warning


async def test_a_base_is_found_by_its_digest(shop: Shop) -> None:
    digest = await push_base(shop)
    await shop.push("v1", repository=_BASE, layer=b"another one has its tag since")
    prefix = "org.opencontainers.image.base"
    named = {f"{prefix}.name": "registry.example/ada/base", f"{prefix}.digest": str(digest)}
    (warning,) = await push_child(shop, annotations=named)
    assert f"the label came with the base image ada/base@{digest}" in warning


async def test_a_label_that_links_all_the_same_says_so(shop: Shop) -> None:
    """The pusher is an admin of both, and may mean it or not."""
    await push_base(shop)
    await sources.add_source(shop.catalog, "ada", "base")
    (warning,) = await push_child(shop)
    assert f"{SOURCE} linked the package" in warning
    assert _SAID in warning
    assert (await shop.package()).source == "ada/base"


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": {}},
        {"built": built(_COPY, _SETS, _SETS, layers=_TWO)},
        {"built": {}},
        {"labels": {SOURCE: "https://git.example/ada/other"}},
    ],
)
async def test_nothing_is_claimed_where_it_is_not_known(
    shop: Shop, changes: dict[str, object]
) -> None:
    await push_base(shop)
    (warning,) = await push_child(shop, **changes)
    assert "base image" not in warning


async def test_a_base_that_is_not_here_is_not_claimed(shop: Shop) -> None:
    (warning,) = await push_child(shop)
    assert "base image" not in warning


async def test_a_base_that_the_pusher_may_not_read_is_not_spoken_of(shop: Shop) -> None:
    await push_base(shop)
    await accounts.add_user(shop.catalog, "eve")
    account = await accounts.find_account(shop.catalog, "eve")
    assert account is not None
    stranger = replace(shop.ada, account_id=account.account_id, name="eve")
    repository = RepositoryName("eve/app")
    (warning,) = await push_child(shop, repository=repository, subject=stranger, exists=False)
    assert "base image" not in warning
