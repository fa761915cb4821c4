"""A package comes to be with the first thing that is pushed to its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.registry.auth.roles import Role, Visibility
from blobd.registry.catalog import accounts
from blobd.registry.catalog.packages import (
    NewPackage,
    creator,
    grant_to_linked,
    insert_package,
)
from blobd.registry.catalog.repositories import find_repository, make_repository
from blobd.registry.catalog.roles import PACKAGE_ROLES, Principal
from blobd.registry.errors import NameUnknown
from blobd.registry.names import ACCOUNT_MAX_CHARACTERS

if TYPE_CHECKING:
    from blobd.database import Transaction
    from blobd.registry.catalog.repositories import Maker
    from blobd.registry.identity.authorizer import Access


def package_maker(access: Access, *, now: float) -> Maker:
    """Return what makes a package, in the transaction that puts the first thing into it.

    The access is confirmed first, so that a lost right takes effect at once. The package is
    private, and its maker an admin of it. One that a workflow makes is linked to the source
    repository and inherits its roles, unless its owner has switched that off, and that repository's
    workflows are admins of it. A name in no namespace is a repository and no package. Where there
    are no identities its owner is made too.

    A caller that was admitted to create it, after another one was first, gets NameUnknown, as if it
    came later.
    """
    repository, subject = access.repository, access.subject

    def checked(transaction: Transaction, repository_id: int) -> int:
        by_another = creator(transaction, repository_id) != subject.account_id
        if not access.exists and by_another and not subject.is_administrator:
            raise NameUnknown(repository)
        return repository_id

    def make(transaction: Transaction) -> int:
        access.confirm(transaction)
        found = find_repository(transaction, repository)
        if found is not None:
            return checked(transaction, found)
        namespace, _, image = repository.partition("/")
        if not image or len(namespace) > ACCOUNT_MAX_CHARACTERS:
            return make_repository(transaction, repository, now=now)
        owner_id = _owner(transaction, namespace, now=now)
        workflow = subject.workflow
        package = NewPackage(
            repository=repository,
            owner_id=owner_id,
            visibility=Visibility.PRIVATE,
            source_id=None if workflow is None else workflow.source_id,
            inherits=workflow is not None and accounts.packages_inherit(transaction, owner_id),
            created_by=subject.account_id,
        )
        repository_id, is_new = insert_package(transaction, package, now=now)
        if not is_new:
            return checked(transaction, repository_id)
        if workflow is not None:
            grant_to_linked(transaction, repository_id, workflow.source_id)
        maker = subject.person_id
        if maker is not None and maker != owner_id:
            PACKAGE_ROLES.give(
                transaction, repository_id, Principal("user", maker), str(Role.ADMIN)
            )
        return repository_id

    return make


def _owner(transaction: Transaction, namespace: str, *, now: float) -> int:
    owner = accounts.find_account(transaction, namespace)
    if owner is None:
        accounts.insert_account(
            transaction, namespace, accounts.ORGANISATION, is_administrator=False, now=now
        )
        owner = accounts.find_account(transaction, namespace)
    if owner is None:
        raise AssertionError(f"account {namespace} was inserted and is not there")
    return owner.account_id
