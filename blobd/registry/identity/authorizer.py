"""Authorization of every request on a repository.

What was allowed is remembered for a second and for one credential, so that a client that pulls a
thousand blobs is looked up a few times; what was refused is looked up anew, so that a right counts
at once when it is given. A right that is taken away counts within that second for what is read; who
writes is asked again in the transaction that does it (`confirm.py`).
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blobd.http.errors import Unauthenticated
from blobd.registry.auth.decide import role_of
from blobd.registry.auth.roles import Action, Role, Visibility
from blobd.registry.auth.subjects import EVERYONE
from blobd.registry.catalog.auth_queries import AuthQueries
from blobd.registry.catalog.read_queries import ReadQueries
from blobd.registry.errors import (
    LoginNeeded,
    NamespaceClosed,
    NamespaceMissing,
    NameUnknown,
    ScopeMissing,
    WorkflowNotGranted,
)
from blobd.registry.identity.authenticator import Caller, has_ended
from blobd.registry.identity.confirm import Confirmation, check, scope_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.database import Catalog, Transaction
    from blobd.registry.auth.scopes import Scope
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.identity.authenticator import Authenticator
    from blobd.registry.identity.upload_secrets import UploadSecrets
    from blobd.registry.names import RepositoryName

_REMEMBERED_S = 1.0
_REMEMBERED_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Access:
    """A request that may go on."""

    subject: Subject
    repository: RepositoryName
    exists: bool
    """Whether the repository is there already."""
    role: Role
    visibility: Visibility
    confirm: Callable[[Transaction], None]
    """Asks again, in the transaction of what the request is for. Raises why not."""


@dataclass(frozen=True, slots=True)
class RequestCredentials:
    """The credentials of a request, and the address that they come from."""

    authorization: str | None
    """The header, as it came."""
    address: str
    """Where the request comes from."""

    @property
    def fingerprint(self) -> bytes:
        """A short hash of the credential; a token may have thousands of bytes."""
        shown = self.authorization or ""
        return hashlib.sha256(shown.encode(errors="surrogateescape")).digest()


class Authorizer:
    """Admits requests, or raises why not. One per process; no `authenticator` admits everyone."""

    def __init__(
        self,
        catalog: Catalog,
        authenticator: Authenticator | None,
        secrets: UploadSecrets | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._hot = ReadQueries(catalog.reader)
        self._callers = AuthQueries(catalog.reader)
        self._authenticator = authenticator
        self._secrets = secrets
        self._clock = clock
        self._allowed: OrderedDict[tuple[bytes, str, Action], tuple[float, Access]] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether there are no identities."""
        return self._authenticator is None

    async def caller(self, credentials: RequestCredentials) -> Caller:
        """Return the subject of a request. Raises Unauthenticated."""
        if self._authenticator is None:
            return Caller(EVERYONE)
        return await self._authenticator.caller(credentials.authorization, credentials.address)

    async def signed_in(
        self, credentials: RequestCredentials, what: str, scope: Scope | None = None
    ) -> Subject:
        """Return the subject of a request that needs an account.

        A bearer token has to have been asked for the scope, if there is one. Raises
        Unauthenticated.
        """
        caller = await self.caller(credentials)
        if not caller.subject.signed_in:
            raise LoginNeeded(what, "" if scope is None else str(scope))
        if scope is None or caller.asked is None:
            return caller.subject
        if not scope.actions <= caller.asked.actions(scope.kind, scope.name):
            raise ScopeMissing(str(scope))
        return caller.subject

    async def may_read(self, credentials: RequestCredentials, repository: RepositoryName) -> bool:
        """Return whether a request could read a repository, whatever it is about otherwise."""
        try:
            await self.admit(credentials, repository, Action.READ)
        except (Unauthenticated, NameUnknown):
            return False
        return True

    async def admit(
        self,
        credentials: RequestCredentials,
        repository: RepositoryName,
        action: Action,
        *,
        challenge: Action | None = None,
    ) -> Access:
        """Authorize a request; callers without credentials are challenged for `challenge`.

        Raises LoginNeeded and other Unauthenticated, NameUnknown, PermissionDenied, ScopeMissing.
        """
        if self._authenticator is None and action is not Action.WRITE:
            return Access(
                EVERYONE,
                repository,
                exists=True,
                role=Role.ADMIN,
                visibility=Visibility.PUBLIC,
                confirm=Confirmation("", repository, action, existed=True),
            )
        key = credentials.fingerprint, repository, action
        remembered = self._allowed.get(key)
        if (
            remembered is not None
            and remembered[0] > self._clock()
            # a push after a deletion makes a new package, where one during it is refused
            and (action is not Action.WRITE or await self._hot.knows(repository))
        ):
            return remembered[1]
        scope = scope_of(repository, challenge or action)
        try:
            caller = await self.caller(credentials)
        except Unauthenticated as error:
            error.scope = scope
            raise
        try:
            access = await self.decide(caller, repository, action)
        except LoginNeeded as error:
            error.scope = scope
            raise
        if access.exists:
            self._remember(key, access, caller)
        return access

    async def admit_upload(
        self,
        credentials: RequestCredentials,
        repository: RepositoryName,
        upload_id: str,
        secret: str | None,
    ) -> Access:
        """Let a request on a session in: one that outlives its token shows the URL's secret.

        The secret stands in for a credential that is missing or over, never for a wrong one, and
        for as long as the subject that began the upload may push. Raises as `admit`.
        """
        try:
            return await self.admit(credentials, repository, Action.WRITE)
        except Unauthenticated as error:
            over = isinstance(error, LoginNeeded | ScopeMissing) or has_ended(error)
            if not over or secret is None or self._secrets is None or self._authenticator is None:
                raise
            token_id = await self._secrets.read(secret, upload_id, repository)
            if token_id is None:
                raise
        subject = await self._authenticator.by_token_id(token_id, may_have_expired=True)
        return await self.decide(Caller(subject), repository, Action.WRITE)

    async def decide(self, caller: Caller, repository: RepositoryName, action: Action) -> Access:
        """Let a caller in. Raises as `admit`, and NamespaceMissing, NamespaceClosed,
        WorkflowNotGranted.
        """
        subject = caller.subject
        if (
            action is Action.WRITE
            and "/" not in repository
            and self._authenticator
            and subject.signed_in
        ):
            raise NamespaceMissing(repository, await self._callers.namespaces(subject))
        facts = await self._callers.facts(subject, repository)
        try:
            check(subject, facts, repository, action, caller.asked_on(repository))
        except NameUnknown:
            if action is Action.WRITE and subject.workflow and facts.exists and facts.belongs:
                # it makes packages here, so it would find out that the name is taken anyway
                source = await self._callers.source_name(subject.workflow)
                raise WorkflowNotGranted(repository, source) from None
            if action is not Action.WRITE or facts.owns or facts.belongs:
                raise
            raise NamespaceClosed(
                repository,
                await self._callers.namespaces(subject),
                exists=await self._callers.has_namespace(repository.partition("/")[0]),
            ) from None
        return Access(
            subject,
            repository,
            exists=facts.exists,
            role=role_of(subject, facts),
            visibility=facts.visibility,
            confirm=Confirmation(subject.token_id, repository, action, existed=facts.exists),
        )

    def _remember(self, key: tuple[bytes, str, Action], access: Access, caller: Caller) -> None:
        lasts_s = _REMEMBERED_S
        if caller.expires_at is not None:
            lasts_s = min(lasts_s, caller.expires_at - self._catalog.now())
        self._allowed[key] = self._clock() + lasts_s, access
        self._allowed.move_to_end(key)
        if len(self._allowed) > _REMEMBERED_MAX:
            self._allowed.popitem(last=False)
