"""What an engine can do, tried out when the daemon starts; what cannot work ends in one line.

Gaps in the numbers of parts are not tried: blobd makes none, because some engines refuse them.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from blobd.errors import BackendUnavailable, ConfigInvalid

if TYPE_CHECKING:
    from blobd.backends.s3_calls import S3Calls

_log = logging.getLogger("blobd.s3")
_DATA = b"0123456789"


def probe(calls: S3Calls) -> None:
    """Try everything that blobd does, and leave nothing. Blocks. Raises ConfigInvalid."""
    calls.look_at_bucket()
    key = f"probe/{secrets.token_hex(8)}"
    try:
        calls.conditional = calls.try_conditional(key)
        calls.put(key, _DATA)
        ranges = _read_middle(calls, key)
        calls.abort(key, calls.create_multipart(key))
        calls.delete(key)
    except BackendUnavailable as error:
        raise ConfigInvalid(
            f"{calls.place}: {error}; blobd must be allowed to put, get, list and delete objects "
            "there, and multipart uploads"
        ) from error
    if not ranges:
        raise ConfigInvalid(f"{calls.place}: the engine does not answer a Range with what it names")
    _log.info(
        "%s: ranges and multipart uploads work; conditional writes: %s",
        calls.place,
        "yes" if calls.conditional else "no, each record costs one more request",
    )


def _read_middle(calls: S3Calls, key: str) -> bool:
    download = calls.open(key, 3, 7)
    if download is None:
        return False
    try:
        return download.read(len(_DATA)) == _DATA[3:7]
    finally:
        download.close()
