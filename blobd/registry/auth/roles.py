"""Roles, visibilities, and the scopes of personal access tokens: the words of permissions."""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum


class Role(IntEnum):
    """Roles on a package; a higher one includes the lower ones."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3

    def __str__(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Role:
        """Return the role of a word. Raises ValueError for what can be given to nobody."""
        try:
            return _ROLES[text]
        except KeyError:
            raise ValueError(f"{text[:40]!r} is no role; it is read, write or admin") from None


_ROLES = {str(role): role for role in Role if role is not Role.NONE}


class Visibility(StrEnum):
    """Who can read a package without a role."""

    PRIVATE = "private"
    INTERNAL = "internal"
    """Every account."""
    PUBLIC = "public"


READ_PACKAGES, WRITE_PACKAGES = "read:packages", "write:packages"
DELETE_PACKAGES = "delete:packages"
SCOPES = (READ_PACKAGES, WRITE_PACKAGES, DELETE_PACKAGES)
"""What a personal access token can be for; writing includes reading."""


class Action(Enum):
    """What is to be done with a package; the value is what a bearer token is asked for."""

    READ = "pull"
    WRITE = "push"
    DELETE = "delete"
    ADMINISTER = "administer"

    @property
    def role(self) -> Role:
        """The least role that may."""
        return _NEEDS[self][0]

    @property
    def scope(self) -> str:
        """The scope that a personal access token needs for it."""
        return _NEEDS[self][1]


_NEEDS = {
    Action.READ: (Role.READ, READ_PACKAGES),
    Action.WRITE: (Role.WRITE, WRITE_PACKAGES),
    Action.DELETE: (Role.ADMIN, DELETE_PACKAGES),
    Action.ADMINISTER: (Role.ADMIN, WRITE_PACKAGES),
}
