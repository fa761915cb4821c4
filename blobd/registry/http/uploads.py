"""`/v2/<name>/blobs/uploads/`: mounts, and the upload protocol with a repository's holder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from blobd.digest import Digest, MalformedDigest
from blobd.http.upload_protocol import UploadContext
from blobd.registry.errors import NameInvalid
from blobd.registry.http.guard import SECRET
from blobd.registry.links import RepositoryHolder, mount
from blobd.registry.names import parse_name
from blobd.registry.packages.create import package_maker

if TYPE_CHECKING:
    from collections.abc import Callable

    from blobd.database import Catalog
    from blobd.http.upload_protocol import UploadProtocol
    from blobd.references.quarantine import Quarantine
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.http.guard import Guard
    from blobd.registry.identity.authorizer import Access
    from blobd.registry.identity.upload_secrets import UploadSecrets


class UploadRoutes:
    """Handlers of upload sessions in one repository (end-4 to end-6, end-11, end-13, end-14)."""

    def __init__(
        self,
        catalog: Catalog,
        quarantine: Quarantine,
        protocol: UploadProtocol,
        guard: Guard,
        secrets: UploadSecrets | None,
    ) -> None:
        """`secrets` None: there are no identities, and no tokens that could run out."""
        self._catalog = catalog
        self._quarantine = quarantine
        self._protocol = protocol
        self._guard = guard
        self._secrets = secrets

    async def start(self, request: web.BaseRequest, access: Access) -> web.StreamResponse:
        """Mount where asked to and able to (R41), else open a session: never an error for it."""
        if "mount" in request.query:
            digest = await self._mounted(request, access)
            if digest is not None:
                headers = {
                    "Location": f"/v2/{access.repository}/blobs/{digest}",
                    "Docker-Content-Digest": str(digest),
                }
                return web.Response(status=201, headers=headers)
        return await self._protocol.start(request, await self._context(request, access))

    async def append(
        self, request: web.BaseRequest, access: Access, upload_id: str
    ) -> web.StreamResponse:
        """R31 to R34, R39."""
        return await self._protocol.append(request, await self._context(request, access), upload_id)

    async def finish(
        self, request: web.BaseRequest, access: Access, upload_id: str
    ) -> web.StreamResponse:
        """R35 to R37."""
        return await self._protocol.finish(request, await self._context(request, access), upload_id)

    async def status(
        self, request: web.BaseRequest, access: Access, upload_id: str
    ) -> web.StreamResponse:
        """R38."""
        return await self._protocol.status(request, await self._context(request, access), upload_id)

    async def cancel(
        self, request: web.BaseRequest, access: Access, upload_id: str
    ) -> web.StreamResponse:
        """R40."""
        return await self._protocol.cancel(request, await self._context(request, access), upload_id)

    async def _mounted(self, request: web.BaseRequest, access: Access) -> Digest | None:
        """Return the digest that was mounted; None where that cannot be, for whatever reason."""
        try:
            digest = Digest.parse(request.query["mount"])
            text = request.query.get("from")
            source = parse_name(text) if text else None
        except (MalformedDigest, NameInvalid):
            return None
        if source is not None and not await self._guard.may_read(request, source):
            return None
        await self._quarantine.look((digest,))
        done = await mount(
            self._catalog,
            digest,
            into=access.repository,
            source=source,
            subject=access.subject,
            make=package_maker(access, now=self._catalog.now()),
        )
        return digest if done else None

    async def _context(self, request: web.BaseRequest, access: Access) -> UploadContext:
        repository = access.repository
        query = await self._query(access)
        return UploadContext(
            owner=f"repository:{repository}{_whose(access.subject)}",
            account=self._guard.account(request, access.subject),
            holder=RepositoryHolder(
                self._catalog,
                repository,
                package_maker(access, now=self._catalog.now()),
            ),
            upload_location=lambda upload_id, offset: (
                f"/v2/{repository}/blobs/uploads/{upload_id}.{offset}{query(upload_id)}"
            ),
            blob_location=lambda digest: f"/v2/{repository}/blobs/{digest}",
        )

    async def _query(self, access: Access) -> Callable[[str], str]:
        """Return what makes the query of a session's URL, with the secret of that session."""
        if self._secrets is None:
            return lambda upload_id: ""  # noqa: ARG005
        maker = await self._secrets.maker(access.repository, access.subject.token_id)
        return lambda upload_id: f"?{SECRET}={maker.make(upload_id)}"


def _whose(subject: Subject) -> str:
    """Return what distinguishes a subject's uploads from others in the same repository."""
    if subject.account_id is None:
        return ""
    workflow = subject.workflow
    return f":{subject.account_id}" + (
        f":{workflow.source_id}:{workflow.kind}" if workflow is not None else ""
    )
