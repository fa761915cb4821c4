"""May they? Every role, scope, visibility and action, and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobd.registry.auth.decide import Decision, PolicyFacts, decide, may_create, role_of
from blobd.registry.auth.roles import SCOPES, Action, Role, Visibility
from blobd.registry.auth.subjects import ANONYMOUS, EVERYONE, Subject, WorkflowOf

READ, WRITE, DELETE, ADMINISTER = Action
YES, LOGIN, UNKNOWN, ASK, NO = Decision

PERSON = Subject(7, "ada", is_administrator=False, scopes=frozenset(SCOPES), token_id="t")
NOTHING = PolicyFacts(
    exists=False, visibility=Visibility.PRIVATE, owns=False, belongs=False, granted=Role.NONE
)
PRIVATE = replace(NOTHING, exists=True)


def test_the_table_of_roles_and_actions() -> None:
    """With every scope: what each role may do, by visibility."""
    table = {
        #                                  read     write    delete   administer
        (Visibility.PRIVATE, Role.NONE): (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
        (Visibility.PRIVATE, Role.READ): (YES, NO, NO, NO),
        (Visibility.PRIVATE, Role.WRITE): (YES, YES, NO, NO),
        (Visibility.PRIVATE, Role.ADMIN): (YES, YES, YES, YES),
        (Visibility.INTERNAL, Role.NONE): (YES, NO, NO, NO),
        (Visibility.INTERNAL, Role.READ): (YES, NO, NO, NO),
        (Visibility.INTERNAL, Role.WRITE): (YES, YES, NO, NO),
        (Visibility.INTERNAL, Role.ADMIN): (YES, YES, YES, YES),
        (Visibility.PUBLIC, Role.NONE): (YES, NO, NO, NO),
        (Visibility.PUBLIC, Role.READ): (YES, NO, NO, NO),
        (Visibility.PUBLIC, Role.WRITE): (YES, YES, NO, NO),
        (Visibility.PUBLIC, Role.ADMIN): (YES, YES, YES, YES),
    }
    assert set(table) == set(product(Visibility, Role))
    for (visibility, role), expected in table.items():
        facts = replace(PRIVATE, visibility=visibility, granted=role)
        assert tuple(decide(PERSON, facts, action) for action in Action) == expected


@pytest.mark.parametrize(
    ("scopes", "private", "public"),
    [
        ((), (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), (YES, NO, NO, NO)),
        (("read:packages",), (YES, NO, NO, NO), (YES, NO, NO, NO)),
        (("write:packages",), (YES, YES, NO, YES), (YES, YES, NO, YES)),
        (("delete:packages",), (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), (YES, NO, YES, NO)),
        (("read:packages", "delete:packages"), (YES, NO, YES, NO), (YES, NO, YES, NO)),
        (SCOPES, (YES, YES, YES, YES), (YES, YES, YES, YES)),
    ],
)
def test_a_scope_caps_what_an_admin_may(
    scopes: tuple[str, ...], private: tuple[Decision, ...], public: tuple[Decision, ...]
) -> None:
    subject = replace(PERSON, scopes=frozenset(scopes))
    for visibility, expected in ((Visibility.PRIVATE, private), (Visibility.PUBLIC, public)):
        facts = replace(PRIVATE, visibility=visibility, granted=Role.ADMIN)
        assert tuple(decide(subject, facts, action) for action in Action) == expected


def test_what_anonymous_callers_may() -> None:
    for visibility, action in product(Visibility, Action):
        facts = replace(PRIVATE, visibility=visibility)
        allowed = visibility is Visibility.PUBLIC and action is READ
        assert decide(ANONYMOUS, facts, action) is (YES if allowed else LOGIN)
    assert all(decide(ANONYMOUS, NOTHING, action) is LOGIN for action in Action)


def test_without_identities_everyone_may_everything() -> None:
    assert all(decide(EVERYONE, PRIVATE, action) is YES for action in Action)
    assert decide(EVERYONE, NOTHING, WRITE) is YES
    assert decide(EVERYONE, NOTHING, READ) is UNKNOWN


def test_a_right_that_was_not_asked_for_is_to_be_asked_for() -> None:
    facts = replace(PRIVATE, granted=Role.WRITE)
    assert decide(PERSON, facts, WRITE, frozenset({"pull"})) is ASK
    assert decide(PERSON, facts, WRITE, frozenset({"pull", "push"})) is YES
    assert decide(PERSON, facts, READ, frozenset()) is ASK
    assert decide(PERSON, facts, READ, frozenset({"*"})) is YES
    assert decide(PERSON, facts, DELETE, frozenset()) is NO
    assert decide(PERSON, replace(PRIVATE, visibility=Visibility.PUBLIC), READ, frozenset()) is YES


def test_who_may_make_a_package() -> None:
    owner, member = replace(NOTHING, owns=True), replace(NOTHING, belongs=True)
    assert decide(PERSON, owner, WRITE) is YES
    assert decide(PERSON, member, WRITE) is YES
    assert decide(PERSON, NOTHING, WRITE) is UNKNOWN
    reader = replace(PERSON, scopes=frozenset({"read:packages"}))
    assert decide(reader, owner, WRITE) is NO
    assert decide(reader, member, WRITE) is UNKNOWN


def test_a_workflow_has_what_its_source_was_given_and_not_what_its_issuer_owns() -> None:
    workflow = replace(PERSON, workflow=WorkflowOf(3, "automation"))
    owned = replace(PRIVATE, owns=True)
    assert decide(workflow, owned, READ) is UNKNOWN
    assert decide(workflow, replace(owned, granted=Role.WRITE), WRITE) is YES
    assert decide(workflow, replace(NOTHING, owns=True), WRITE) is UNKNOWN
    assert decide(workflow, replace(NOTHING, belongs=True), WRITE) is YES


subjects = st.builds(
    Subject,
    account_id=st.just(7),
    name=st.just("ada"),
    is_administrator=st.booleans(),
    scopes=st.frozensets(st.sampled_from(SCOPES)),
    token_id=st.just("t"),
    workflow=st.none() | st.just(WorkflowOf(3, "automation")),
) | st.just(ANONYMOUS)
standings = st.builds(
    PolicyFacts,
    exists=st.booleans(),
    visibility=st.sampled_from(Visibility),
    owns=st.booleans(),
    belongs=st.booleans(),
    granted=st.sampled_from(Role),
).filter(lambda facts: facts.exists or facts.granted is Role.NONE)
actions = st.sampled_from(Action)


@given(subjects, standings, actions)
def test_a_higher_role_or_another_scope_never_takes_away(
    subject: Subject, facts: PolicyFacts, action: Action
) -> None:
    if decide(subject, facts, action) is not YES:
        return
    if facts.exists:
        for role in Role:
            if role >= facts.granted:
                assert decide(subject, replace(facts, granted=role), action) is YES
    wider = replace(subject, scopes=frozenset(SCOPES))
    assert decide(wider, facts, action) is YES


@given(subjects, standings, actions)
def test_who_may_not_read_cannot_tell_a_package_from_nothing(
    subject: Subject, facts: PolicyFacts, action: Action
) -> None:
    """But for who may make it, who finds out by making it."""
    nothing = replace(facts, exists=False, granted=Role.NONE)
    if decide(subject, facts, READ) is YES or may_create(subject, nothing):
        return
    assert decide(subject, facts, action) is decide(subject, nothing, action)


@given(subjects, standings, actions)
def test_what_is_allowed_is_within_role_and_scope(
    subject: Subject, facts: PolicyFacts, action: Action
) -> None:
    if decide(subject, facts, action) is not YES or not facts.exists:
        return
    assert role_of(subject, facts) >= action.role
    public_read = action is READ and facts.visibility is Visibility.PUBLIC
    assert public_read or subject.has_scope(action.scope)
