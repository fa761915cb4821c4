"""May they? One pure function from facts to a decision.

It decides on what the subject may do now, not on what a bearer token was granted when it was made.
The token's list matters for one thing only: a caller with a right that its token was not asked for
is challenged to ask for it.

    anonymous, may not                          LOGIN      401
    signed in, may not read                     UNKNOWN    404, as if there were nothing
    may read but not do it                      FORBIDDEN  403, naming role and scope
    may do it, and did not ask for it           ASK        401 insufficient_scope
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from blobd.registry.auth.roles import Action, Role, Visibility

if TYPE_CHECKING:
    from blobd.registry.auth.subjects import Subject


class Decision(Enum):
    """What becomes of a request."""

    ALLOWED = auto()
    LOGIN = auto()
    UNKNOWN = auto()
    ASK = auto()
    FORBIDDEN = auto()


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """How a subject stands to a package, or to a name that is none yet."""

    exists: bool
    visibility: Visibility
    owns: bool
    """Whether the namespace is the subject's own, or an organisation's that it is an owner of."""
    belongs: bool
    """Whether it is a member of the organisation; of a workflow: whether its source is there."""
    granted: Role
    """The best of what the subject was given, itself or its teams: on the package, and on the
    source repository that the package inherits roles from. Of a workflow: what its source
    repository was granted on the package, and nothing for a link alone."""


def role_of(subject: Subject, facts: PolicyFacts) -> Role:
    """Return what a subject may do at most, whatever its token is for."""
    if subject.is_administrator or (facts.owns and subject.workflow is None):
        return Role.ADMIN
    if not facts.exists:
        return Role.NONE
    open_to_all = facts.visibility is Visibility.PUBLIC
    open_to_accounts = facts.visibility is Visibility.INTERNAL and subject.signed_in
    floor = Role.READ if open_to_all or open_to_accounts else Role.NONE
    return max(facts.granted, floor)


def may_create(subject: Subject, facts: PolicyFacts) -> bool:
    """Return whether a subject may make a package of a name that is none yet."""
    owns = facts.owns and subject.workflow is None
    return not facts.exists and (subject.is_administrator or owns or facts.belongs)


def decide(
    subject: Subject, facts: PolicyFacts, action: Action, asked: frozenset[str] | None = None
) -> Decision:
    """Return what becomes of a request.

    `asked` are the actions that the bearer token was asked for on this repository; None where the
    credential itself was shown.
    """
    if not facts.exists:
        return _on_nothing(subject, facts, action, asked)
    role = role_of(subject, facts)
    is_public = facts.visibility is Visibility.PUBLIC
    if action is Action.READ and is_public:
        return Decision.ALLOWED
    if not subject.signed_in:
        return Decision.LOGIN
    reads = role >= Role.READ and (is_public or subject.has_scope(Action.READ.scope))
    if not reads:
        return Decision.UNKNOWN
    if role < action.role or not subject.has_scope(action.scope):
        return Decision.FORBIDDEN
    return _asked(action, asked)


def _on_nothing(
    subject: Subject, facts: PolicyFacts, action: Action, asked: frozenset[str] | None
) -> Decision:
    """A missing package looks like an unreadable one, except to callers who could create it."""
    if not subject.signed_in:
        return Decision.LOGIN
    if action is not Action.WRITE or not may_create(subject, facts):
        return Decision.UNKNOWN
    if not subject.has_scope(action.scope):
        # to an owner nothing in the namespace is hidden; to others, a free name would reveal that
        sees_all = subject.is_administrator or facts.owns
        return Decision.FORBIDDEN if sees_all else Decision.UNKNOWN
    return _asked(action, asked)


def _asked(action: Action, asked: frozenset[str] | None) -> Decision:
    if asked is None or action.value in asked or "*" in asked:
        return Decision.ALLOWED
    return Decision.ASK
