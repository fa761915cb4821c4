"""Kinds of columns, and the collection that all tables are in.

Names and digests compare by their bytes (R55), on every database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, String
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator

from blobd.digest import Digest

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

metadata = MetaData()


def by_bytes(length: int) -> String:
    """Return the type of a text that sorts by its bytes."""
    return String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")


class DigestText(TypeDecorator[Digest]):
    """A digest, stored as it is written."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = String
    cache_ok: bool | None = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeDecorator[Digest]:
        return dialect.type_descriptor(by_bytes(255))  # type: ignore[return-value]

    def process_bind_param(self, value: Digest | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Digest | None:  # noqa: ARG002
        return None if value is None else Digest.parse(value)
