"""Reading a package as people do: its tags in order, and a version with all that belongs to it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blobd.digest import Digest, MalformedDigest
from blobd.registry.catalog import browse, contents, versions
from blobd.registry.packages.tag_order import is_attachment, newest_first

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog.browse import NamedDigest, Owner
    from blobd.registry.catalog.versions import Version
    from blobd.threads import Threads

BY_VERSION, BY_NAME, BY_TIME = "version", "name", "time"
ORDERS = (BY_VERSION, BY_NAME, BY_TIME)
"""How tags can be sorted: as versions or by time, the newest first, or by name."""
WARNED_MAX = 5
"""Versions that a package's page names because not all of their own words were taken over."""
_CHILDREN_MAX = 100
_ATTACHMENTS_MAX = 200
_REFERENCE_TYPE = "vnd.docker.reference.type"
_REFERENCE_DIGEST = "vnd.docker.reference.digest"
_SUFFIXES = {".sig": "signature", ".att": "attestation", ".sbom": "SBOM", "": "referrers"}
"""What a tag `sha256-HEX` with a suffix holds, by the conventions of cosign and of OCI 1.1."""
_KINDS = (
    ("cosign.artifact.sig", "signature"),
    ("notary.signature", "signature"),
    ("sigstore.bundle", "signature or attestation"),
    ("in-toto", "attestation"),
    ("slsa", "attestation"),
    ("spdx", "SBOM"),
    ("cyclonedx", "SBOM"),
)


@dataclass(frozen=True, slots=True)
class TagEntry:
    """A tag with the version that it names; None where its manifest never became a version."""

    tag: NamedDigest
    version: Version | None


@dataclass(frozen=True, slots=True)
class TagPage:
    """Part of a package's tags."""

    entries: Sequence[TagEntry]
    total: int
    """How many tags there are that were asked for."""
    suggested: NamedDigest | None
    """`latest`, or the newest version."""
    attached: Mapping[Digest, Sequence[Attachment]]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A signature, an attestation, or anything else that is about a manifest."""

    digest: Digest
    kind: str
    """`signature`, `attestation`, `SBOM`; the artifact type of what is none of them."""
    version_id: int | None


@dataclass(frozen=True, slots=True)
class Child:
    """What an index lists."""

    digest: Digest
    platform: str
    """As `linux/arm64/v8`; empty where the index does not say."""
    version: Version | None
    """None where it is not here."""


@dataclass(frozen=True, slots=True)
class Detail:
    """A version with what belongs to it."""

    version: Version
    children: Sequence[Child]
    child_count: int
    attached: Mapping[Digest, Sequence[Attachment]]
    """By what it is about: the version, or a child."""
    subject: Digest | None
    """What the version itself is about."""
    parents: Sequence[Version]


async def list_owners(catalog: Catalog, subject: Subject, *, limit: int) -> list[Owner]:
    """Return the accounts with packages that a subject may read, by name."""
    return await catalog.read(
        lambda transaction: browse.list_owners(transaction, subject, limit=limit)
    )


async def find_tags(
    catalog: Catalog,
    threads: Threads,
    package_id: int,
    *,
    text: str,
    order: str,
    offset: int,
    limit: int,
) -> TagPage:
    """Return tags whose name or digest contains a text in lower case, in one of ORDERS."""
    found = await catalog.read(lambda transaction: browse.all_tags(transaction, package_id))
    # a package may have a hundred thousand: too many to sort between two requests
    suggested, ordered = await threads.run(_arrange, found, text, order)
    shown = ordered[offset : offset + limit]

    def describe(transaction: Transaction) -> TagPage:
        digests = {tag.digest for tag in shown}
        known = _by_digest(transaction, package_id, digests)
        entries = [TagEntry(tag, known.get(tag.digest)) for tag in shown]
        attached = _attached(transaction, package_id, digests)
        return TagPage(entries, len(ordered), suggested, attached)

    return await catalog.read(describe)


async def find_warned(catalog: Catalog, package_id: int) -> list[Version]:
    """Return the newest versions of which a text was cut or not taken over, one more than fit."""
    return await catalog.read(
        lambda transaction: versions.list_warned(transaction, package_id, limit=WARNED_MAX + 1)
    )


async def describe_version(catalog: Catalog, package_id: int, which: str) -> Detail | None:
    """Return a version by its number or its digest; None where it is not there or is deleted."""

    def describe(transaction: Transaction) -> Detail | None:
        version = _find(transaction, package_id, which)
        if version is None or version.deleted_at is not None:
            return None
        content = contents.read_content(transaction, package_id, version.digest)
        document = _document(content)
        listed = _listed(document)
        shown = listed[:_CHILDREN_MAX]
        known = _by_digest(transaction, package_id, {digest for digest, _, _ in shown})
        about = {version.digest, *(digest for digest, _, _ in shown)}
        attached = _attached(transaction, package_id, about)
        children = []
        for digest, platform, signs in shown:
            if signs is None:
                children.append(Child(digest, platform, known.get(digest)))
                continue
            row = known.get(digest)
            number = None if row is None else row.version_id
            attached[signs].append(Attachment(digest, "attestation", number))
        parents = _by_digest(transaction, package_id, {each.digest for each in version.parents})
        return Detail(
            version=version,
            children=children,
            child_count=sum(signs is None for _, _, signs in listed),
            attached=attached,
            subject=_digest(_member(document.get("subject"), "digest")),
            parents=sorted(parents.values(), key=lambda each: each.version_id),
        )

    return await catalog.read(describe)


def _arrange(
    found: list[NamedDigest], text: str, order: str
) -> tuple[NamedDigest | None, list[NamedDigest]]:
    by_name = {tag.name: tag for tag in found}
    names = newest_first(list(by_name))
    first = next((name for name in names if not is_attachment(name)), None)
    suggested = None if first is None else by_name[first]
    wanted = [tag for tag in found if text in tag.name.lower() or text in str(tag.digest)]
    if order == BY_TIME:
        wanted.sort(key=lambda tag: tag.updated_at, reverse=True)
    elif order == BY_VERSION:
        kept = {tag.name for tag in wanted}
        wanted = [by_name[name] for name in names if name in kept]
    return suggested, wanted


def _find(transaction: Transaction, package_id: int, which: str) -> Version | None:
    if ":" in which:
        digest = _digest(which)
        return None if digest is None else versions.find_digest(transaction, package_id, digest)
    if not which.isascii() or not which.isdigit() or len(which) > 9:
        return None
    return versions.find_version(transaction, package_id, int(which))


def _by_digest(
    transaction: Transaction, package_id: int, digests: Collection[Digest]
) -> dict[Digest, Version]:
    found = versions.find_digests(transaction, package_id, digests)
    return {version.digest: version for version in found if version.deleted_at is None}


def _attached(
    transaction: Transaction, package_id: int, digests: Collection[Digest]
) -> defaultdict[Digest, list[Attachment]]:
    """Return what is about these manifests: by its subject, or by a tag that says so."""
    referring = browse.references_to(transaction, package_id, digests, limit=_ATTACHMENTS_MAX)
    about: dict[str, tuple[Digest, str]] = {}
    for digest in digests:
        for suffix, kind in _SUFFIXES.items():
            about[f"{str(digest).replace(':', '-')}{suffix}"] = digest, kind
    tagged = browse.tags_named(transaction, package_id, about) if about else []
    found = {each.digest for each in referring} | {each.digest for each in tagged}
    known = _by_digest(transaction, package_id, found)
    attached: defaultdict[Digest, list[Attachment]] = defaultdict(list)
    for each in referring:
        row = known.get(each.digest)
        number = None if row is None else row.version_id
        attached[each.subject].append(
            Attachment(each.digest, kind_of(each.artifact_type or ""), number)
        )
    for tag in tagged:
        subject, kind = about[tag.name]
        row = known.get(tag.digest)
        number = None if row is None else row.version_id
        if all(tag.digest != each.digest for each in attached[subject]):
            attached[subject].append(Attachment(tag.digest, kind, number))
    return attached


def kind_of(artifact_type: str) -> str:
    """Return what an artifact of a type is, in a word where the type is well known."""
    lowered = artifact_type.lower()
    known = (word for part, word in _KINDS if part in lowered)
    return next(known, artifact_type or "attachment")


def _document(content: bytes | None) -> dict[str, Any]:
    try:
        document = json.loads(content or b"{}")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _listed(document: dict[str, Any]) -> list[tuple[Digest, str, Digest | None]]:
    """Return what an index lists: digest, platform, and what an attestation is about."""
    entries = document.get("manifests")
    found = []
    for entry in entries if isinstance(entries, list) else ():
        digest = _digest(_member(entry, "digest"))
        if digest is None:
            continue
        annotations = _member(entry, "annotations")
        signs = None
        if _member(annotations, _REFERENCE_TYPE) == "attestation-manifest":
            signs = _digest(_member(annotations, _REFERENCE_DIGEST))
        found.append((digest, _platform(_member(entry, "platform")), signs))
    return found


def _platform(value: object) -> str:
    parts = (_member(value, name) for name in ("os", "architecture", "variant"))
    return "/".join(part for part in parts if isinstance(part, str) and part)[:100]


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _digest(value: object) -> Digest | None:
    try:
        return Digest.parse(value) if isinstance(value, str) else None
    except MalformedDigest:
        return None
