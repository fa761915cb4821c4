"""How long things are kept: the longest that any daemon at the same store is set to."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from blobd.config import Config


@dataclass(slots=True)
class Graces:
    """Changed in place, so that all who hold it keep to it. Times of 0 for uploads: no limit."""

    upload_idle_expiry_s: float
    upload_timeout_s: float
    receipt_lifetime_s: float
    unnamed_link_grace_s: float
    trash_retention_s: float
    audit_retention_s: float

    @classmethod
    def of(cls, config: Config) -> Graces:
        """Return what one daemon is set to."""
        return cls(
            upload_idle_expiry_s=config.limits.upload_idle_expiry_s,
            upload_timeout_s=config.limits.upload_timeout_s,
            receipt_lifetime_s=config.upkeep.receipt_lifetime_s,
            unnamed_link_grace_s=config.upkeep.unnamed_link_grace_s,
            trash_retention_s=config.registry.trash_retention_s,
            audit_retention_s=config.registry.audit_retention_s,
        )

    def keep_to(self, all_set: Iterable[Mapping[str, object]]) -> None:
        """Take the longest of each, of what daemons are set to by `section.name`."""
        some = list(all_set)
        for field, setting in zip(fields(self), SETTINGS, strict=True):
            values = [float(str(each[setting])) for each in some if setting in each]
            unlimited = setting == "limits.upload_timeout_s" and 0.0 in values
            if values:
                setattr(self, field.name, 0.0 if unlimited else max(values))


SETTINGS = (
    "limits.upload_idle_expiry_s",
    "limits.upload_timeout_s",
    "upkeep.receipt_lifetime_s",
    "upkeep.unnamed_link_grace_s",
    "registry.trash_retention_s",
    "registry.audit_retention_s",
)
"""Where the fields of `Graces` are set, in their order."""
