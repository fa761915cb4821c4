"""Accounts, tokens and packages, written straight into a catalog's tables."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import Table, insert

from blobd.registry.auth.roles import SCOPES, Visibility
from blobd.registry.auth.subjects import ANONYMOUS, Subject, WorkflowOf
from blobd.registry.catalog.tables import (
    accounts,
    memberships,
    package_grants,
    package_roles,
    packages,
    repositories,
    source_roles,
    sources,
    team_members,
    teams,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from blobd.database import Catalog
    from blobd.database.transaction import Transaction

ADA, BOB, EVE, ROOT, ACME, INITECH = range(101, 107)
NAMES = {ADA: "ada", BOB: "bob", EVE: "eve", ROOT: "root", ACME: "acme", INITECH: "initech"}
PEOPLE, ORGANISATIONS = (ADA, BOB, EVE), (ACME, INITECH)
TEAMS, SOURCES, PACKAGES = 4, 6, 60
KINDS = ("automation", "environment")
ROLES = ("read", "write", "admin")


async def fill(catalog: Catalog, rows: Iterable[tuple[Table, list[dict[str, object]]]]) -> None:
    """Insert rows as they are."""

    def write(transaction: Transaction) -> None:
        for table, some in rows:
            if some:
                transaction.execute(insert(table), some)

    await catalog.write(write)


def people() -> list[dict[str, object]]:
    """Return the rows of everybody there is."""
    return [
        {
            "id": number,
            "name": name,
            "kind": "organisation" if number in ORGANISATIONS else "user",
            "is_administrator": number == ROOT,
            "created_at": 0.0,
        }
        for number, name in NAMES.items()
    ]


def token(token_id: str, account_id: int, secret: str, **more: object) -> dict[str, object]:
    """Return the row of a personal access token with every scope."""
    row = {
        "id": token_id,
        "account_id": account_id,
        "kind": "personal",
        "source_id": None,
        "secret_hash": hashlib.sha256(secret.encode()).hexdigest(),
        "hint": secret[:14],
        "note": "",
        "scopes": " ".join(SCOPES),
        "created_at": 0.0,
        "expires_at": None,
        "revoked_at": None,
    }
    return row | more


def package(number: int, owner: int, name: str, **more: object) -> list[tuple[Table, object]]:
    """Return the rows of a package."""
    repository = {"id": number, "name": f"{NAMES[owner]}/{name}", "created_at": 0.0}
    row = {
        "repository_id": number,
        "owner_id": owner,
        "name": name,
        "visibility": "private",
        "source_id": None,
        "inherits": False,
        "immutable_tags": False,
        "created_at": 0.0,
        "updated_at": 0.0,
        "downloads": 0,
    }
    return [(repositories, repository), (packages, row | more)]


async def add_package(catalog: Catalog, number: int, owner: int, name: str, **more: object) -> None:
    """Insert a package."""
    rows = package(number, owner, name, **more)
    await fill(catalog, [(table, [row]) for table, row in rows])  # type: ignore[list-item]


async def fill_at_random(catalog: Catalog, random: Random) -> None:
    """Fill a catalog with packages, and with roles of all kinds for some of everybody."""
    visibilities = [str(visibility) for visibility in Visibility]
    team_owner = {number: random.choice(ORGANISATIONS) for number in range(1, TEAMS + 1)}
    members: list[dict[str, object]] = [
        {
            "organisation_id": organisation,
            "account_id": person,
            "role": random.choice(("owner", "member")),
        }
        for organisation in ORGANISATIONS
        for person in PEOPLE
        if random.random() < 0.5
    ]
    grantees = [("user", person) for person in PEOPLE] + [("team", team) for team in team_owner]
    made = [
        package(
            number,
            random.choice((*PEOPLE, *ORGANISATIONS)),
            f"image{number}",
            visibility=random.choice(visibilities),
            source_id=source,
            inherits=source is not None and random.random() < 0.6,
        )
        for number in range(1, PACKAGES + 1)
        for source in [random.choice([None, *range(1, SOURCES + 1)])]
    ]
    everything: list[tuple[Table, list[dict[str, object]]]] = [
        (accounts, people()),
        (memberships, members),
        (
            teams,
            [
                {"id": number, "organisation_id": owner, "name": f"team{number}"}
                for number, owner in team_owner.items()
            ],
        ),
        (
            team_members,
            [
                {"team_id": team, "account_id": person}
                for team in team_owner
                for person in PEOPLE
                if random.random() < 0.4
            ],
        ),
        (
            sources,
            [
                {
                    "id": number,
                    "owner_id": random.choice((*PEOPLE, *ORGANISATIONS)),
                    "name": f"source{number}",
                    "visibility": random.choice(visibilities),
                    "created_at": 0.0,
                }
                for number in range(1, SOURCES + 1)
            ],
        ),
        (repositories, [rows[0][1] for rows in made]),  # type: ignore[misc]
        (packages, [rows[1][1] for rows in made]),  # type: ignore[misc]
        (
            source_roles,
            [
                {
                    "source_id": source,
                    "grantee_kind": kind,
                    "grantee_id": grantee,
                    "role": random.choice(ROLES),
                }
                for source in range(1, SOURCES + 1)
                for kind, grantee in grantees
                if random.random() < 0.2
            ],
        ),
        (
            package_roles,
            [
                {
                    "repository_id": number,
                    "grantee_kind": kind,
                    "grantee_id": grantee,
                    "role": random.choice(ROLES),
                }
                for number in range(1, PACKAGES + 1)
                for kind, grantee in grantees
                if random.random() < 0.1
            ],
        ),
        (
            package_grants,
            [
                {
                    "repository_id": number,
                    "source_id": source,
                    "kind": kind,
                    "role": random.choice(ROLES[:2]),
                }
                for number in range(1, PACKAGES + 1)
                for source in range(1, SOURCES + 1)
                for kind in KINDS
                if random.random() < 0.1
            ],
        ),
    ]
    await fill(catalog, everything)


def subjects() -> Iterator[Subject]:
    """Yield everybody who may ask, with scopes and without."""
    yield ANONYMOUS
    for scopes in (
        frozenset(SCOPES),
        frozenset({"write:packages"}),
        frozenset({"delete:packages"}),
    ):
        for person in (*PEOPLE, ROOT):
            name = NAMES[person]
            yield Subject(
                person, name, is_administrator=person == ROOT, scopes=scopes, token_id="t"
            )
        for source in range(1, SOURCES + 1):
            for kind in KINDS:
                yield Subject(
                    ADA,
                    "ada",
                    is_administrator=False,
                    scopes=scopes,
                    token_id="w",
                    workflow=WorkflowOf(source, kind),
                )
