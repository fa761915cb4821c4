"""What an engine can do, tried out when the daemon starts; what cannot work ends in one line.

What is tried is what documentation promises and some engine does not do: ranges, conditional
writes, 10,000 parts, URLs that are signed in version 4.

Gaps in the numbers of parts are not tried: blobd makes none, because some engines refuse them.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from blobd.backends.s3.download import Download
from blobd.errors import BackendUnavailable, ConfigInvalid

if TYPE_CHECKING:
    from blobd.backends.s3.calls import S3Calls

_log = logging.getLogger("blobd.s3")
_DATA = b"0123456789"
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")


MOST_PARTS = 10_000
"""Of one multipart upload (Amazon S3, "Multipart upload limits")."""


def probe(calls: S3Calls, *, redirect: bool) -> int:
    """Try everything that blobd does, and leave nothing; return how many parts an upload may have.

    `redirect`: whether clients will be sent to the engine, so that one such URL is fetched too.
    Blocks. Raises ConfigInvalid.
    """
    calls.look_at_bucket()
    key = f"probe/{secrets.token_hex(8)}"
    try:
        calls.conditional = calls.try_conditional(key)
        calls.put(key, _DATA)
        ranges = _read_middle(calls, key)
        if redirect:
            _follow_redirect(calls, key)
        most_parts = _most_parts(calls, key)
        calls.delete(key)
    except BackendUnavailable as error:
        raise ConfigInvalid(
            f"{calls.place}: {error}; blobd must be allowed to put, get, list and delete objects "
            "there, and multipart uploads"
        ) from error
    if not ranges:
        raise ConfigInvalid(f"{calls.place}: the engine does not answer a Range with what it names")
    _log.info(
        "%s: ranges and multipart uploads work, of %d parts; conditional writes: %s",
        calls.place,
        most_parts,
        "yes" if calls.conditional else "no, each record costs one more request",
    )
    return most_parts


def _most_parts(calls: S3Calls, key: str) -> int:
    """Find the highest number that a part may have; no such upload is completed.

    Where it is not Amazon's, as 1,000 on OpenStack Swift, it is found by halving.
    """
    multipart_id = calls.create_multipart(key)
    try:
        if calls.takes_part(key, multipart_id, MOST_PARTS):
            return MOST_PARTS
        taken, refused = 0, MOST_PARTS
        while refused - taken > 1:
            number = (taken + refused) // 2
            if calls.takes_part(key, multipart_id, number):
                taken = number
            else:
                refused = number
    finally:
        calls.abort(key, multipart_id)
    if not taken:
        raise ConfigInvalid(f"{calls.place}: the engine refuses parts of multipart uploads")
    return taken


def _follow_redirect(calls: S3Calls, key: str) -> None:
    """Fetch an object as a client does. Raises ConfigInvalid, saying where it fails."""
    url = calls.url(key)
    place = f"a redirect to {urlsplit(url).netloc}"
    remedy = "check s3.region and s3.endpoint_url, or stream blobs with s3.redirect = false"
    try:
        status, body = calls.follow(url)
    except BackendUnavailable as error:
        raise ConfigInvalid(f"{calls.place}: {place} fails: {error}; {remedy}") from error
    if status != 200:
        code = _CODE.search(body)
        why = f"{status} {code[1].decode()}" if code else str(status)
        raise ConfigInvalid(f"{calls.place}: {place} is answered with {why}; {remedy}")
    if body != _DATA:
        raise ConfigInvalid(
            f"{calls.place}: {place} returns other bytes than were stored; {remedy}"
        )


def _read_middle(calls: S3Calls, key: str) -> bool:
    download = Download.open(calls, key, 3, 7)
    if download is None:
        return False
    try:
        return download.read(len(_DATA)) == _DATA[3:7]
    finally:
        download.close()
