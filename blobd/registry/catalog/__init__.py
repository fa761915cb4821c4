"""The registry's tables and all SQL. Rules about them live in the floors above.

`opening` opens them in one of the databases, whose ways are in folders of their own; `hot` answers
what every request asks; `holds`, `contents` and `listings` are the statements, to be composed
inside a transaction.
"""

from __future__ import annotations

from blobd.registry.catalog.catalog import Catalog
from blobd.registry.catalog.opening import (
    catalog_file,
    catalog_place,
    load_catalog,
    open_catalog,
)
from blobd.registry.catalog.transaction import Transaction

__all__ = [
    "Catalog",
    "Transaction",
    "catalog_file",
    "catalog_place",
    "load_catalog",
    "open_catalog",
]
