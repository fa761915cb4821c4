"""The registry's tables and all SQL. Rules about them live in the floors above.

`engine` opens and runs transactions, `hot` answers what every request asks; `holds`, `contents`
and `listings` are the statements, to be composed inside a transaction.
"""

from __future__ import annotations

from blobd.registry.catalog.engine import Catalog, catalog_path, open_catalog
from blobd.registry.catalog.transaction import Transaction

__all__ = ["Catalog", "Transaction", "catalog_path", "open_catalog"]
