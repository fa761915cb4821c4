"""Subjects: who a request acts for, once its credential has been verified."""

from __future__ import annotations

from dataclasses import dataclass

from blobd.registry.auth.roles import READ_PACKAGES, SCOPES, WRITE_PACKAGES


@dataclass(frozen=True, slots=True)
class WorkflowOf:
    """The source repository whose workflow it is, and of which kind."""

    source_id: int
    kind: str
    """`automation` or `environment`."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A person, a workflow, or nobody known."""

    account_id: int | None
    """None: anonymous, or everyone where there are no identities. A workflow's: who vouched."""
    name: str
    is_administrator: bool
    scopes: frozenset[str]
    """What the token behind it may be used for."""
    token_id: str
    workflow: WorkflowOf | None = None

    @property
    def signed_in(self) -> bool:
        return self.account_id is not None or self.is_administrator

    @property
    def person_id(self) -> int | None:
        """The account whose roles count: none for a workflow, which has its own."""
        return None if self.workflow is not None else self.account_id

    def has_scope(self, scope: str) -> bool:
        """Return whether the token is for this; one that may write may read."""
        return scope in self.scopes or (scope == READ_PACKAGES and WRITE_PACKAGES in self.scopes)


ANONYMOUS = Subject(None, "", is_administrator=False, scopes=frozenset(), token_id="")
EVERYONE = Subject(None, "", is_administrator=True, scopes=frozenset(SCOPES), token_id="")
"""The subject used when authentication is off: every permission."""
