"""The secret in an upload's URL: 128 bits with which its session outlives the token it began with.

It names the token that began the session, and a code over session, repository and that token
(HMAC-SHA256, RFC 2104, cut to 128 bits as section 5 allows), keyed by what the signing keys hold.
So nothing has to be stored, any replica reads it, and it is worth nothing on another session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blobd.registry.auth.bearer import Keyring
    from blobd.registry.names import RepositoryName

_PURPOSE = b"blobd upload URL"
_SECRET_BYTES = 16


class UploadSecrets:
    """Makes and reads them. One per process."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def maker(self, repository: RepositoryName, token_id: str) -> UploadSecretMaker:
        """Return what makes the secrets of a caller's sessions in a repository."""
        keys = await self._keyring.derived(_PURPOSE)
        return UploadSecretMaker(keys[0], repository, token_id)

    async def read(self, secret: str, upload_id: str, repository: RepositoryName) -> str | None:
        """Return the id of the token that began a session; None where the secret is not its own."""
        token_id, _, given = secret.partition(".")
        for key in await self._keyring.derived(_PURPOSE):
            expected = _code(key, upload_id, repository, token_id)
            if hmac.compare_digest(expected.encode(), given.encode(errors="replace")):
                return token_id
        return None


class UploadSecretMaker:
    """Makes the secrets of one caller's sessions in one repository."""

    def __init__(self, key: bytes, repository: RepositoryName, token_id: str) -> None:
        self._key = key
        self._repository = repository
        self._token_id = token_id

    def make(self, upload_id: str) -> str:
        """Return the secret of a session; safe in a URL."""
        code = _code(self._key, upload_id, self._repository, self._token_id)
        return f"{self._token_id}.{code}"


def _code(key: bytes, upload_id: str, repository: RepositoryName, token_id: str) -> str:
    text = f"{upload_id} {repository} {token_id}".encode(errors="replace")
    code = hmac.digest(key, text, hashlib.sha256)[:_SECRET_BYTES]
    return base64.urlsafe_b64encode(code).rstrip(b"=").decode()
