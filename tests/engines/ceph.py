"""Ceph's RADOS Gateway on one monitor and one OSD, without a manager, one copy of all.

The widely deployed one: PutObject with If-None-Match is atomic, open multipart uploads outlive
kill -9, bodies are checked against their signatures.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Literal

from tests.engines.ports import accepts, free_port
from tests.engines.process import EngineFailed, Process
from tests.engines.s3 import Access, S3Engine
from tests.engines.scratch import make_folder

PROGRAMS = (
    "ceph",
    "ceph-authtool",
    "ceph-mon",
    "ceph-osd",
    "monmaptool",
    "radosgw",
    "radosgw-admin",
)
_START_WITHIN_S = 60
_STORE_BYTES = 8 * 1024**3
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = {monitors}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv6 = false
auth_allow_insecure_global_id_reclaim = false
run_dir = {folder}/run
admin_socket = {folder}/run/$name.$pid.asok
log_file = {folder}/log/$name.log
crash_dir = {folder}/log
keyring = {folder}/keyring
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
[mon]
mon_data = {folder}/mon
[osd]
osd_data = {folder}/osd
osd_objectstore = {store}
bluestore_block_size = {store_bytes}
memstore_device_bytes = {store_bytes}
osd_memory_target = 1073741824
osd_crush_update_on_start = false
osd_class_update_on_start = false
osd_client_watch_timeout = 8
[client]
rgw_data = {folder}/rgw
rgw_dns_name = 127.0.0.1
rgw_enable_usage_log = false
rgw_gc_obj_min_wait = 10
rgw_gc_processor_period = 30
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 64
rgw_multipart_min_part_size = {least_part_bytes}
"""
_KEEPS_ITS_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
}
"""mallopt(3): one heap that never shrinks."""
_RIGHTS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"},
    "client.rgw.a": {"mon": "allow rw", "osd": "allow rwx"},
}


class Ceph(S3Engine):
    name = "ceph"

    def __init__(
        self,
        *,
        store: Literal["bluestore", "memstore"] = "bluestore",
        store_bytes: int = _STORE_BYTES,
        least_part_bytes: int = S3Engine.least_part_bytes,
    ) -> None:
        """Prepare a cluster that keeps its objects in a file, or in memory and forgets them.

        It takes parts of so many bytes, by default as it ships.
        """
        self.least_part_bytes = least_part_bytes
        self.forgets = store == "memstore"
        prefix = "blobd-ceph-"
        folder = make_folder(prefix) if self.forgets else Path(tempfile.mkdtemp(prefix=prefix))
        self._store = store
        self._store_bytes = store_bytes
        self._port = free_port()
        self._monitors = f"[v2:127.0.0.1:{free_port()},v1:127.0.0.1:{free_port()}]"
        self._environment = os.environ | {"CEPH_CONF": str(folder / "ceph.conf")}
        if self.forgets:
            # Memory that the kernel gives anew for each object would cost more than the object.
            self._environment |= _KEEPS_ITS_MEMORY
        self._made = False

        def process(program: str, *arguments: str) -> Process:
            command = [program, *arguments, "-f"]
            log = folder / f"{program}.log"
            return Process(program, command, log=log, environment=self._environment)

        self._monitor = process("ceph-mon", "-i", "a")
        self._osd = process("ceph-osd", "-i", "0")
        self._gateway = process("radosgw", "-n", "client.rgw.a")
        access = Access(f"http://127.0.0.1:{self._port}", "test", "testing-blobd")
        super().__init__(access, folder, [self._gateway, self._osd, self._monitor])

    def start(self) -> None:
        if not self._made:
            self._make_monitor()
        self._monitor.start()
        self._run("ceph", f"--connect-timeout={_START_WITHIN_S}", "status")
        if not self._made:
            self._make_osd()
        self._osd.start()
        self._wait_for_osd()
        if not self._made:
            self._make_user()
            self._made = True
        self._gateway.start()
        self._gateway.wait(lambda: accepts(self._port))
        self._gateway.wait(self._serves)

    def collect(self) -> None:
        self._run("radosgw-admin", "gc", "process", "--include-all")

    def _run(self, *command: str | Path) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(
            words, capture_output=True, text=True, env=self._environment, cwd=self.folder
        )
        if done.returncode != 0:
            raise EngineFailed(f"{' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _make_monitor(self) -> None:
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self.folder / name).mkdir()
        fsid = str(uuid.uuid4())
        (self.folder / "ceph.conf").write_text(
            _CONFIGURATION.format(
                fsid=fsid,
                monitors=self._monitors,
                folder=self.folder,
                store=self._store,
                store_bytes=self._store_bytes,
                port=self._port,
                least_part_bytes=self.least_part_bytes,
            )
        )
        keyring = self.folder / "keyring"
        self._run("ceph-authtool", "--create-keyring", keyring)
        for owner, rights in _RIGHTS.items():
            caps = [word for service, right in rights.items() for word in ("--cap", service, right)]
            self._run("ceph-authtool", keyring, "--gen-key", "-n", owner, *caps)
        monmap = self.folder / "monmap"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", self._monitors, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)

    def _make_osd(self) -> None:
        osd_id = str(uuid.uuid4())
        self._run("ceph", "osd", "new", osd_id)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd_id)
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=local")

    def _wait_for_osd(self) -> None:
        deadline = time.monotonic() + _START_WITHIN_S
        while "1 up" not in self._run("ceph", "osd", "stat"):
            if time.monotonic() > deadline:
                raise EngineFailed(f"the OSD does not come up:\n{self._osd.said()}")
            time.sleep(0.1)

    def _make_user(self) -> None:
        self._run(
            "radosgw-admin",
            *("user", "create", "--uid=blobd", "--display-name=blobd"),
            f"--access-key={self.access.access_key_id}",
            f"--secret-key={self.access.secret_access_key}",
        )
