"""What packages got by labels before labels gave no rights: found once, listed, undone on a word.

No record says which way a link came. So what is found is what today's rules would not give and no
entry of the audit says that a person asked for:

    link        the maker is no admin of the source repository, or it has another owner
    roles       those of that repository count here
    workflows   so do its workflows, by the link alone
    visibility  wider than private, from the source repository
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.catalog import label_findings, packages, sources
from blobd.registry.catalog.audit import Entry, write_entries
from blobd.registry.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from blobd.database import Catalog, Transaction
    from blobd.registry.catalog.label_findings import Marked

LINK, ROLES, WORKFLOWS, VISIBILITY = "link", "roles", "workflows", "visibility"


@dataclass(frozen=True, slots=True)
class Finding:
    """A package that has more than a label would give it today."""

    package: str
    """`OWNER/NAME`."""
    source: str
    """`OWNER/NAME` of the source repository that it came from; empty: that is gone."""
    got: tuple[str, ...]
    """Of `link`, `roles`, `workflows` and `visibility`."""
    visibility: str
    deleted: bool


async def review_links(catalog: Catalog) -> int:
    """Review everything not reviewed since the upgrade; return the number of findings.

    Several processes may do so at a time; each finding is one's.
    """

    def review(transaction: Transaction) -> int:
        found = 0
        for marked in label_findings.list_marked(transaction, unseen=True):
            words = tuple(_words(transaction, marked))
            after = " ".join((str(marked.source_id or 0), *words)) if words else None
            if label_findings.set_findings(transaction, marked.package_id, marked.findings, after):
                found += bool(words)
        return found

    if not await catalog.read(
        lambda transaction: label_findings.list_marked(transaction, unseen=True)
    ):
        return 0
    return await catalog.write(review)


async def list_findings(catalog: Catalog) -> list[Finding]:
    """Return findings that were not undone or kept, by name."""

    def find(transaction: Transaction) -> list[Finding]:
        marked = label_findings.list_marked(transaction, unseen=False)
        return [_finding(transaction, each) for each in marked]

    return await catalog.read(find)


async def settle_findings(
    catalog: Catalog, names: Collection[str], *, undo: bool
) -> Sequence[Finding]:
    """Undo what was found of packages (OWNER/NAME), or of all where none is named, or keep it.

    Undone, a package is unlinked, its roles are its own, the workflows of that source repository
    have no grant, and it is private; except for what was set since. What is kept is listed
    no more. Returns what was settled. Raises NotFound for a name without findings.
    """
    now = catalog.now()

    def settle(transaction: Transaction) -> list[Finding]:
        marked = label_findings.list_marked(transaction, unseen=False)
        unknown = set(names) - {each.full_name for each in marked}
        if unknown:
            raise NotFound("finding", f"of {min(unknown)}")
        wanted = [each for each in marked if not names or each.full_name in names]
        settled = []
        for each in wanted:
            finding = _finding(transaction, each)
            if undo:
                _undo(transaction, each)
            label_findings.set_findings(transaction, each.package_id, each.findings, None)
            settled.append(finding)
        action = "links undone" if undo else "links kept"
        write_entries(
            transaction,
            [
                Entry(now, "", action, finding.package, detail=" ".join(finding.got))
                for finding in settled
            ],
        )
        return settled

    return await catalog.write(settle)


def _words(transaction: Transaction, marked: Marked) -> Iterator[str]:
    if marked.source_id is None:
        return
    source = sources.get_source(transaction, marked.source_id)
    if source is None:
        return
    noted = label_findings.was_noted
    by_hand = noted(transaction, marked.full_name, "link", source.full_name)
    if not by_hand and not _would_link(transaction, marked):
        yield LINK
        if marked.inherits:
            yield ROLES
        if marked.has_grants:
            yield WORKFLOWS
    elif (
        not marked.inherits  # the link alone let workflows in, unless it was granted too
        and marked.has_grants
        and not noted(transaction, marked.full_name, "grant", source.full_name)
    ):
        yield WORKFLOWS
    asked = noted(transaction, marked.full_name, "inherit", "true")
    if marked.inherits and not asked and marked.visibility != Visibility.PRIVATE:
        yield VISIBILITY


def _would_link(transaction: Transaction, marked: Marked) -> bool:
    """Return whether the first publish would link it today, and inherit."""
    if not marked.inherits or marked.source_owner_id != marked.owner_id:
        return False
    maker = marked.created_by
    if maker is None or (maker != marked.owner_id and not marked.maker_has_role):
        return True  # there were no identities, or a workflow made it
    if marked.source_id is None:
        return False
    return sources.role_of_person(transaction, marked.source_id, maker) is Role.ADMIN


def _finding(transaction: Transaction, marked: Marked) -> Finding:
    source_id, got = _parse(marked.findings)
    source = sources.get_source(transaction, source_id)
    return Finding(
        package=marked.full_name,
        source="" if source is None else source.full_name,
        got=got,
        visibility=marked.visibility,
        deleted=marked.deleted_at is not None,
    )


def _undo(transaction: Transaction, marked: Marked) -> None:
    source_id, got = _parse(marked.findings)
    values: dict[str, object] = {}
    if LINK in got and marked.source_id == source_id:
        values |= {"source_id": None, "inherits": False}
    if WORKFLOWS in got:
        packages.take_grants(transaction, marked.package_id, source_id)
    if VISIBILITY in got and marked.published_at is None:
        values["visibility"] = str(Visibility.PRIVATE)
    if values:
        packages.change_package(transaction, marked.package_id, **values)


def _parse(findings: str) -> tuple[int, tuple[str, ...]]:
    source_id, *words = findings.split()
    return int(source_id), tuple(words)
