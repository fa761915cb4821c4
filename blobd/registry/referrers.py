"""Referrers: the manifests whose subject a digest is (R59-R65)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blobd.registry.catalog import listings, repositories
from blobd.registry.catalog.listings import ReferrersOf
from blobd.registry.media_types import OCI_INDEX

if TYPE_CHECKING:
    from blobd.database import Catalog, Transaction
    from blobd.digest import Digest
    from blobd.registry.catalog.listings import Referrer
    from blobd.registry.names import RepositoryName

_PAGE_MAX_BYTES = 4_000_000
_PAGE_MAX_REFERRERS = 5000
_DESCRIPTOR_BYTES = 600
"""More than a descriptor needs besides its annotations, which are no larger than its manifest."""


@dataclass(frozen=True, slots=True)
class ReferrersPage:
    """An image index of referrers; `next_after` is where the next page starts, if there is one."""

    index: bytes
    next_after: Digest | None


async def list_referrers(
    catalog: Catalog,
    repository: RepositoryName,
    subject: Digest,
    *,
    artifact_type: str | None = None,
    after: Digest | None = None,
) -> ReferrersPage:
    """Return the referrers of a digest, whether that exists or not, by pages of 4 MB at most.

    An unknown repository has none: the specification wants no 404 here.
    """

    def find(transaction: Transaction) -> ReferrersPage:
        repository_id = repositories.find_repository(transaction, repository)
        if repository_id is None:
            return ReferrersPage(_index([]), None)
        wanted = ReferrersOf(repository_id, subject, artifact_type, after)
        weighed = listings.weigh_referrers(transaction, wanted, limit=_PAGE_MAX_REFERRERS + 1)
        count = _how_many_fit(weighed)
        found = listings.read_referrers(transaction, wanted, limit=count)
        next_after = found[-1].digest if len(weighed) > count else None
        return ReferrersPage(_index(found), next_after)

    return await catalog.read(find)


def _how_many_fit(weighed: list[tuple[Digest, int]]) -> int:
    """Return how many go into one page: at least one, so that paging comes to an end."""
    room_bytes = _PAGE_MAX_BYTES
    for count, (_, size_bytes) in enumerate(weighed[:_PAGE_MAX_REFERRERS]):
        room_bytes -= size_bytes + _DESCRIPTOR_BYTES
        if room_bytes < 0:
            return max(count, 1)
    return min(len(weighed), _PAGE_MAX_REFERRERS)


def _index(referrers: list[Referrer]) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [_descriptor(referrer) for referrer in referrers],
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _descriptor(referrer: Referrer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": referrer.media_type,
        "digest": str(referrer.digest),
        "size": referrer.size_bytes,
    }
    if referrer.artifact_type is not None:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations is not None:
        descriptor["annotations"] = json.loads(referrer.annotations)
    return descriptor
