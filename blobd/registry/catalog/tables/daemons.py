"""The daemons that are at work on this catalog.

daemons     one row per living daemon: a lease, renewed every few seconds by `neighbours.py`, with
            the settings that must agree, as JSON. Nobody is bound by a row that has lapsed.
"""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

from blobd.database.columns import metadata

daemons = Table(
    "daemons",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("boot", String(64), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("settings", Text, nullable=False),
)
