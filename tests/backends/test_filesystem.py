"""What only the filesystem backend promises: its layout, its tolerance, its failures."""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blobd.backends.filesystem.backend import Filesystem
from blobd.backends.filesystem.folder import read_record
from blobd.durable import boot_id
from blobd.errors import BackendUnavailable, BlobNotFound, ConfigInvalid, UploadUnknown
from tests.backends.acts import (
    begin,
    digest_of,
    fetch,
    listed,
    off_loop,
    staged,
    store,
)
from tests.backends.sites import FilesystemSite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UPLOAD_ID = "f" * 32


@pytest.fixture
def site(tmp_path: Path) -> FilesystemSite:
    return FilesystemSite(tmp_path, durable=True)


@pytest.fixture
def opened(site: FilesystemSite) -> Filesystem:
    return site.open()


@pytest.fixture
async def backend(opened: Filesystem) -> AsyncIterator[Filesystem]:
    yield opened
    await opened.aclose()


class TestLayout:
    async def test_commit_moves_the_bytes_and_does_not_copy_them(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B7: commit takes time that does not depend on the blob's size."""
        digest = digest_of(b"moved")
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([b"moved"])
            before = await off_loop(os.stat, site.upload_path(upload_id) / "bytes")
            await staging.commit(digest)
        after = await off_loop(os.stat, site.blob_path(digest))
        assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)

    async def test_blobs_are_read_only_files_under_their_digest(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """Design section 6: blobs/<algorithm>/<first two>/<encoded>."""
        digest = await store(backend, b"data", "blake3")
        path = site.root / "blobs" / "blake3" / digest.encoded[:2] / digest.encoded
        facts = await off_loop(os.stat, path)
        assert facts.st_mode & 0o777 in {0o400, 0o440}

    @pytest.mark.parametrize("place", ["blobs", "blobs/sha256", "uploads"])
    def test_a_folder_that_cannot_serve_is_refused_in_one_line(
        self, tmp_path: Path, place: str
    ) -> None:
        """Filesystem: raises ConfigInvalid."""
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"a file in the way")
        with pytest.raises(ConfigInvalid, match=r"^store\.path = .*: must be a folder to write to"):
            Filesystem(tmp_path, durable=False)

    def test_blobs_and_uploads_on_two_file_systems_are_refused(self, tmp_path: Path) -> None:
        """Design section 5, Commit: must share a file system."""
        other = Path("/dev/shm")  # the one file system that every Linux has beside its disk
        if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is only one file system here")
        uploads = other / f"blobd-test-{os.getpid()}-{time.monotonic_ns()}"
        uploads.mkdir()
        try:
            (tmp_path / "uploads").symlink_to(uploads)
            with pytest.raises(ConfigInvalid, match="must lie on one file system"):
                Filesystem(tmp_path, durable=False)
        finally:
            uploads.rmdir()


class TestGarbage:
    async def test_foreign_things_among_blobs_are_neither_reported_nor_removed(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B9."""
        whole = await store(backend, b"whole")
        foreign = digest_of(b"in the wrong shard")
        wrong_shard = "00" if foreign.encoded[:2] != "00" else "01"
        shard = f"blobs/sha256/{whole.encoded[:2]}"
        planted = [
            "blobs/README",
            "blobs/sha256/notes.txt",
            "blobs/md5/00/00000000000000000000000000000000",
            f"{shard}/lost+found",
            f"{shard}/{whole.encoded}.tmp",
            f"{shard}/{whole.encoded.upper()}",
            f"{shard}/{whole.encoded[:-1]}",
            f"blobs/sha256/{wrong_shard}/{foreign.encoded}",
        ]
        for path in planted:
            await off_loop(site.plant, path)
        assert await listed(backend) == [whole]
        assert [path for path in planted if not (site.root / path).exists()] == []

    @pytest.mark.parametrize("kind", ["folder", "symlink", "dangling"])
    async def test_what_is_no_file_is_no_blob(
        self, backend: Filesystem, site: FilesystemSite, kind: str
    ) -> None:
        """B9, B1: in a blob's very place, seen the same by every verb."""
        digest = digest_of(b"in the way")
        path = site.blob_path(digest)
        secret = await off_loop(site.plant, "secret")
        if kind == "folder":
            await off_loop(path.mkdir)
        else:
            await off_loop(path.symlink_to, secret if kind == "symlink" else "nowhere")
        with pytest.raises(BlobNotFound):
            await backend.stat(digest)
        with pytest.raises(BlobNotFound):
            await backend.open(digest)
        with pytest.raises(BlobNotFound):
            await backend.delete(digest)
        assert await listed(backend) == []
        assert path.is_dir() or path.is_symlink()

    async def test_a_shard_that_is_a_file_hides_no_other_blob(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B9."""
        digest = await store(backend, b"whole")
        other = "00" if digest.encoded[:2] != "00" else "01"
        await off_loop((site.root / "blobs/sha256" / other).rmdir)
        await off_loop(site.plant, f"blobs/sha256/{other}")
        assert await listed(backend) == [digest]

    async def test_foreign_things_among_uploads_are_neither_reported_nor_removed(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B9: names that are no ids, ids that are no uploads."""
        open_id = await begin(backend)
        foreign = "e" * 32
        planted = [
            "uploads/notes.txt",
            f"uploads/{foreign}",
            f"uploads/{'d' * 32}/photo.jpg",
            f"uploads/{'c' * 32}/record/inside",
            f"uploads/{'B' * 32}/record",
        ]
        for path in planted:
            await off_loop(site.plant, path)
        assert [record.upload_id async for record in backend.stagings()] == [open_id]
        for upload_id in (foreign, "d" * 32, "c" * 32, "B" * 32):
            with pytest.raises(UploadUnknown):
                await backend.peek(upload_id)
            with pytest.raises(UploadUnknown):
                await backend.stage(upload_id)
            with suppress(UploadUnknown):
                await backend.forget(upload_id)
        assert [path for path in planted if not (site.root / path).exists()] == []

    async def test_a_foreign_file_in_an_upload_survives_and_revives_nothing(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B9, B8: abort removes what blobd put there, and the upload stays gone."""
        upload_id = await begin(backend)
        planted = await off_loop(site.plant, f"uploads/{upload_id}/notes.txt")
        async with staged(backend, upload_id) as staging:
            await staging.append([b"data"])
            await staging.checkpoint(b"")
            await staging.abort()
        with pytest.raises(UploadUnknown):
            await backend.stage(upload_id)
        assert [record async for record in backend.stagings()] == []
        assert list(planted.parent.iterdir()) == [planted]

    async def test_a_torn_record_is_no_record(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B9: cut anywhere, as power loss may leave it; nothing is removed."""
        upload_id = await begin(backend, b"memo")
        path = site.upload_path(upload_id) / "record"
        whole = await off_loop(path.read_bytes)
        for size_bytes in range(len(whole)):
            await off_loop(path.write_bytes, whole[:size_bytes])
            with pytest.raises(UploadUnknown):
                await backend.peek(upload_id)
        with pytest.raises(UploadUnknown):
            await backend.stage(upload_id)
        assert [record async for record in backend.stagings()] == []
        await off_loop(path.write_bytes, whole)
        assert (await backend.peek(upload_id)).memo == b"memo"

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(
        st.binary()
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(
                        ["offset", "boot", "touched_at", "memo", "commits", "digest", "size"]
                    ),
                    inner,
                )
            ),
        ).map(lambda document: json.dumps(document).encode())
    )
    def test_no_record_is_too_strange(self, tmp_path: Path, garbage: bytes) -> None:
        """B9: whatever stands in a record, it is understood or it is not."""
        (tmp_path / "record").write_bytes(garbage)
        with suppress(FileNotFoundError):
            record, _ = read_record(tmp_path)
            assert record.offset >= 0


class TestWhatARestartFinds:
    async def save(self, backend: Filesystem, data: bytes = b"saved") -> str:
        upload_id = await begin(backend)
        async with staged(backend, upload_id) as staging:
            await staging.append([data])
            await staging.checkpoint(b"memo")
        return upload_id

    async def test_bytes_of_another_boot_are_not_trusted(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """Staging.trusted; design section 5, Resume."""
        upload_id = await self.save(backend)
        path = site.upload_path(upload_id) / "record"
        record = (await off_loop(path.read_text)).replace(await off_loop(boot_id), "another boot")
        await off_loop(path.write_text, record)
        async with staged(backend, upload_id) as staging:
            assert (staging.trusted, staging.offset) == (False, 5)
            await staging.checkpoint(b"hashed again")
        async with staged(backend, upload_id) as staging:
            assert (staging.trusted, staging.record.memo) == (True, b"hashed again")

    async def test_an_upload_that_lost_bytes_is_gone(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B4, B2: after power loss, fewer bytes than the record counts."""
        upload_id = await self.save(backend)
        await off_loop(os.truncate, site.upload_path(upload_id) / "bytes", 4)
        with pytest.raises(UploadUnknown):
            await backend.stage(upload_id)

    async def test_a_claim_of_another_boot_keeps_nobody_out(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B5: the clock of claims starts anew with the machine."""
        upload_id = await self.save(backend)
        claim = site.upload_path(upload_id) / "claim"
        for target in (f"{10**18}@another boot", f"{10**18}", "nonsense"):
            await off_loop(claim.symlink_to, target)
            async with staged(backend, upload_id) as staging:
                await staging.append([b"."])
            await off_loop(claim.unlink)

    async def test_a_commit_that_a_crash_cut_off_leaves_the_upload_where_it_stood(
        self, backend: Filesystem, site: FilesystemSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """B4, B6: offset and memo of the last checkpoint, whatever commit has begun to write."""
        upload_id = await self.save(backend)

        def power_cut(path: Path, target: Path) -> Path:
            raise OSError(errno.EIO, "crashed before the rename")

        async with staged(backend, upload_id) as staging:
            await staging.append([b", unsaved"])
            rename = Path.rename
            monkeypatch.setattr(
                Path,
                "rename",
                lambda path, target: (power_cut if path.name == "bytes" else rename)(path, target),
            )
            with pytest.raises(BackendUnavailable):
                await staging.commit(digest_of(b"saved, unsaved"))
            monkeypatch.undo()
            assert (staging.record.offset, staging.record.committed) == (5, None)
        record = await backend.peek(upload_id)
        assert (record.offset, record.memo, record.committed) == (5, b"memo", None)
        async with staged(backend, upload_id) as staging:
            assert staging.offset == 5
            await staging.commit(digest_of(b"saved"))
        assert await fetch(backend, digest_of(b"saved")) == b"saved"

    async def test_half_a_removal_can_be_completed(
        self, backend: Filesystem, site: FilesystemSite
    ) -> None:
        """B6, B9: an abort cut off by a crash leaves what a sweep finds and removes."""
        upload_id = await self.save(backend)
        await off_loop((site.upload_path(upload_id) / "record").unlink)
        (record,) = [record async for record in backend.stagings()]
        assert (record.upload_id, record.offset, record.memo) == (upload_id, 0, b"")
        async with staged(backend, upload_id) as staging:
            await staging.abort()
        assert await off_loop(site.peek_uploads) == set()
