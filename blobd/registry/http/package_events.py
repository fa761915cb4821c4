"""What requests on manifests mean for packages: versions, counts, the trash, the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blobd.registry.auth.roles import Visibility
from blobd.registry.catalog.audit import Entry
from blobd.registry.identity.confirm import ConfirmedCatalog
from blobd.registry.media_types import INDEXES
from blobd.registry.packages.activity import Pull
from blobd.registry.packages.publish import PackagePublication
from blobd.registry.packages.trash import Trash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from blobd.database import Catalog
    from blobd.digest import Digest
    from blobd.http.origin import Origins
    from blobd.registry.auth.subjects import Subject
    from blobd.registry.identity.authorizer import Access
    from blobd.registry.manifests import Accepted, Manifest
    from blobd.registry.packages.activity import ActivityRecorder
    from blobd.store import BlobStore
    from blobd.threads import Threads


class PackageEvents:
    """Done by the routes of manifests and of packages."""

    def __init__(
        self,
        catalog: Catalog,
        store: BlobStore,
        threads: Threads,
        *,
        trash_retention_s: float,
        activity: ActivityRecorder,
        origins: Origins,
        source_hosts: Sequence[str] = (),
    ) -> None:
        """`source_hosts`: `registry.source_hosts`; empty: the host that clients reach this by."""
        self._catalog = catalog
        self._store = store
        self._threads = threads
        self._trash_retention_s = trash_retention_s
        self._activity = activity
        self._origins = origins
        self._source_hosts = source_hosts

    def publication(self, request: web.BaseRequest, access: Access) -> PackagePublication:
        """Return what a push of a manifest writes beside it."""
        hosts = self._source_hosts or (_without_port(self._origins.host(request)),)
        return PackagePublication(self._catalog, self._store, self._threads, access, hosts)

    def pushed(
        self,
        request: web.BaseRequest,
        access: Access,
        accepted: Accepted,
        publication: PackagePublication,
    ) -> None:
        """Note a push, and what its label did or was not let do."""
        subject, repository, digest = access.subject, access.repository, accepted.digest
        self.note(request, subject, "push", repository, digest, " ".join(accepted.tags) or None)
        linked = publication.linked
        if linked is not None:
            action = "link" if linked.source_id is not None else "link refused"
            self.note(request, subject, action, repository, digest, linked.said)

    def pulled(self, request: web.BaseRequest, access: Access, found: Manifest) -> None:
        """Note a download; of a package that is not public, the audit names the subject."""
        address = self._origins.address(request)
        subject = access.subject
        self._activity.pulled(
            Pull(
                repository=access.repository,
                digest=found.digest,
                caller=f"{subject.account_id or ''}@{address}"[:80],
                at=self._catalog.now(),
                is_index=found.media_type in INDEXES,
            )
        )
        if access.visibility is not Visibility.PUBLIC:
            self.note(request, subject, "pull", access.repository, found.digest)
        else:
            self._activity.used(subject)

    async def write_pulls(self) -> None:
        """Have the downloads written that this process has noted and not written yet."""
        await self._activity.flush(settled_s=0.0)

    async def delete(
        self, request: web.BaseRequest, access: Access, digest: Digest, *, force: bool
    ) -> tuple[str, ...]:
        """Delete a version; return what that breaks.

        Raises NameUnknown, ManifestUnknown, TooPopular; unless `force`, ManifestListed.
        """
        catalog = ConfirmedCatalog(self._catalog, access.confirm)
        trash = Trash(catalog, self._trash_retention_s)
        breaks = await trash.delete_manifest(access.repository, digest, access.subject, force=force)
        self.note(request, access.subject, "delete", access.repository, digest)
        return breaks

    def untagged(self, request: web.BaseRequest, access: Access, tag: str) -> None:
        """Note that a tag was deleted."""
        self.note(request, access.subject, "untag", access.repository, None, tag)

    def note(
        self,
        request: web.BaseRequest,
        subject: Subject,
        action: str,
        package: str | None,
        digest: Digest | None = None,
        detail: str | None = None,
    ) -> None:
        """Note an action for the audit."""
        self._activity.used(subject)
        self._activity.note(
            Entry(
                at=self._catalog.now(),
                actor=subject.name,
                action=action,
                package=package,
                digest=digest,
                detail=detail,
                token_id=subject.token_id or None,
                address=self._origins.address(request)[:64],
            )
        )


def _without_port(authority: str) -> str:
    host, colon, port = authority.rpartition(":")
    return (host if colon and "]" not in port else authority).lower()
