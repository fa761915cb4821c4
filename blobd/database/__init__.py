"""The database: opening it, transactions on it, and the one history of its tables.

`opening` knows which database it is, and each has a folder of its own. What is in the tables is the
business of the floors above, which describe them with `columns` and keep their statements beside
them.
"""

from __future__ import annotations

from blobd.database.catalog import Catalog, Clock
from blobd.database.opening import catalog_file, catalog_place, load_catalog, open_catalog
from blobd.database.reader import Reader
from blobd.database.transaction import Transaction

__all__ = [
    "Catalog",
    "Clock",
    "Reader",
    "Transaction",
    "catalog_file",
    "catalog_place",
    "load_catalog",
    "open_catalog",
]
