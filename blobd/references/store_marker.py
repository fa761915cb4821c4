"""Whether catalog and store belong together: each holds the same random id.

The store has it as a marker among its blobs (`backends/base.py`), the catalog in a table. Where
neither has one, as on the first start, they get one if what is there is consistent: both are
empty, or some blobs that the catalog names are in the store. Anything else is refused. A catalog
without its blobs would report to pushers that layers exist, and they would not upload them; blobs
with another catalog would be removed by collectors that do not know each other's holds.
"""

from __future__ import annotations

import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING

from blobd.errors import BackendUnavailable, BlobNotFound, ConfigInvalid, StorageFull
from blobd.references import store_id

if TYPE_CHECKING:
    from blobd.backends.base import Backend
    from blobd.database import Catalog

_SAMPLE_BLOBS = 32
_WAY_OUT = "`blobd adopt-store`"

_log = logging.getLogger("blobd")


async def recognise_store(catalog: Catalog, backend: Backend, *, where: str) -> None:
    """Check that catalog and store belong together, and mark them where they are not marked yet.

    `where` names the store for people. Raises ConfigInvalid in one line with the way out. If
    cancelled while marking, the next start goes on.
    """
    marker = await backend.marker()
    known = await catalog.read(store_id.read_store_id)
    if marker is not None and marker == known:
        return
    if marker is not None:
        raise ConfigInvalid(
            f"the store ({where}) belongs to another catalog: its marker says {marker}, this "
            f"catalog {f'belongs to {known}' if known else 'is new to it'}; set catalog.url or "
            f"store.path to those that belong together, or bind them with {_WAY_OUT}"
        )
    names_blobs = await catalog.read(store_id.names_blobs)
    if names_blobs and not await _has_some(catalog, backend):
        raise ConfigInvalid(
            f"the store ({where}) has none of the blobs that the catalog names, and no marker: "
            f"mount its volume or set store.path; if the blobs are lost, {_WAY_OUT} goes on "
            "without them"
        )
    if not names_blobs and await _has_any(backend):
        raise ConfigInvalid(
            f"the store ({where}) has blobs, and the catalog names none: set catalog.url, or "
            f"restore the catalog; if it is lost, {_WAY_OUT} begins with an empty one"
        )
    try:
        chosen = known
        if chosen is None:
            made = secrets.token_hex(16)
            chosen = await catalog.write(partial(store_id.keep_store_id, store_id=made))
        marked = await backend.mark(chosen)
    except (StorageFull, BackendUnavailable) as error:
        _log.warning("the store cannot be marked as the catalog's yet: %s", error)
        return
    if marked != chosen:
        raise ConfigInvalid(
            f"the store ({where}) was marked by another catalog at the same moment; set "
            f"catalog.url or store.path, or bind them with {_WAY_OUT}"
        )


async def adopt_store(catalog: Catalog, backend: Backend) -> str:
    """Bind catalog and store to each other, whatever they said; return their new id.

    Other catalogs that were bound to the store are refused at their next start. If cancelled in
    between, they are refused until this is done again.
    """
    chosen = secrets.token_hex(16)
    await catalog.write(partial(store_id.replace_store_id, store_id=chosen))
    return await backend.mark(chosen, replace=True)


async def _has_some(catalog: Catalog, backend: Backend) -> bool:
    """Return whether the store has at least one of the blobs that the catalog names."""
    sample = await catalog.read(partial(store_id.sample_blobs, limit=_SAMPLE_BLOBS))
    for digest in sample:
        try:
            await backend.stat(digest)
        except BlobNotFound:
            continue
        return True
    return not sample


async def _has_any(backend: Backend) -> bool:
    async for _ in backend.blobs():
        return True
    return False
