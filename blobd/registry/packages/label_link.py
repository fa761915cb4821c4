"""Whether the label of a push links its package to a source repository.

Anybody can write a label, and a base image brings its own along: no history of an image says for
sure whose a label is (`base_image.py` finds it out where it can, for people to read). So a label is
a wish of the pusher, and does what the pusher could do by hand: it links where the pusher is an
admin of the package and of the source repository. It gives rights only at the first publish, and
only to a source repository of the package's own owner. An administrator of the registry counts by
the roles that were given to it as a person: it builds on other people's images as everybody does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from blobd.registry.auth.roles import Role
from blobd.registry.catalog import accounts, packages, sources
from blobd.registry.labels import SOURCE

if TYPE_CHECKING:
    from blobd.database import Transaction
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.catalog.packages import Published
    from blobd.registry.labels import SourceLink


@dataclass(frozen=True, slots=True)
class Push:
    """The pusher, and what is known of it."""

    subject: Subject
    is_admin: bool
    """Whether the pusher is an admin of the package."""
    is_first: bool
    """Whether nothing has been published in the package before."""
    hosts: frozenset[str]
    """The hosts whose OWNER/REPOSITORY are this registry's source repositories."""


@dataclass(frozen=True, slots=True)
class Linked:
    """What became of a label."""

    source_id: int | None
    inherits: bool
    said: str
    """For the audit."""
    warning: str | None = None
    """For the pusher, where the label did less than it might be expected to."""

    def came_with(self, base: str) -> Linked:
        """Return the same with a note that the label came with the base image."""
        its = f"the label came with the base image {base}"
        warning = (
            f"{self.warning}; {its}"
            if self.warning
            else f"{SOURCE} linked the package, and {its}: where it is built from other sources, "
            "set a label of its own and link it by hand (PUT …/repository)"
        )
        return replace(self, said=f"{self.said[:800]} ({its[:200]})", warning=warning)


def link_by_label(
    transaction: Transaction, package_id: int, package: Published, label: SourceLink, push: Push
) -> Linked:
    """Return what a label does, having given the workflows of the source their grants.

    The answer is the same for a source repository that is not there and for one that is not the
    pusher's.
    """
    full_name = f"{label.owner}/{label.name}"
    source = sources.find_source(transaction, label.owner, label.name)
    if source is None or not _is_named(source, label, push):
        return _unlinked(label, _no_source(label, push))
    if _role(transaction, source, push.subject) < _needed(source):
        return _unlinked(label, _no_source(label, push))
    if not push.is_admin:
        return _unlinked(label, "you are not an admin of the package")
    if not push.is_first:
        return Linked(source.source_id, inherits=False, said=f"{full_name} by label")
    if source.owner_id != package.owner_id:
        return Linked(
            source.source_id,
            inherits=False,
            said=f"{full_name} by label",
            warning=f"the package is linked to {full_name} and inherits no roles from there, as "
            "that has another owner; an admin can ask for it (PUT …/access/mode)",
        )
    if not accounts.packages_inherit(transaction, package.owner_id):
        return Linked(
            source.source_id,
            inherits=False,
            said=f"{full_name} by label",
            warning=f"the package is linked to {full_name} and inherits no roles from there, as "
            "its owner has switched that off; an admin can ask for it (PUT …/access/mode)",
        )
    packages.grant_to_linked(transaction, package_id, source.source_id)
    return Linked(source.source_id, inherits=True, said=f"{full_name} by label, inheriting roles")


def _is_named(source: sources.Source, label: SourceLink, push: Push) -> bool:
    if source.host:
        return label.host == source.host
    return label.host in push.hosts


def _role(transaction: Transaction, source: sources.Source, subject: Subject) -> Role:
    workflow = subject.workflow
    if workflow is not None:
        return Role.ADMIN if workflow.source_id == source.source_id else Role.NONE
    if subject.person_id is None:
        return Role.ADMIN if subject.is_administrator else Role.NONE  # there are no identities
    return sources.role_of_person(transaction, source.source_id, subject.person_id)


def _needed(source: sources.Source) -> Role:
    return Role.WRITE if source.writers_link else Role.ADMIN


def _no_source(label: SourceLink, push: Push) -> str:
    where = f"source repository {label.owner}/{label.name} of {label.host}"
    if label.host in push.hosts:
        return f"no {where} is here of which you are an admin"
    return (
        f"no {where} is here of which you are an admin, and {label.host} is no source host of "
        "this registry (registry.source_hosts)"
    )


def _unlinked(label: SourceLink, why: str) -> Linked:
    return Linked(
        None,
        inherits=False,
        said=f"{label.url}: {why}"[:1000],
        warning=f"{SOURCE} names {label.url[:200]}; the package is not linked to it: {why}. "
        "An admin can link it by hand (PUT …/repository)",
    )
