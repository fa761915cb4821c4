"""OpenStack Swift with s3api: one proxy, account, container and object server, one copy of all.

It checks signatures and hashes of bodies, and open multipart uploads outlive kill -9. It answers
conditional writes with 501, and takes part numbers up to 1,000 as it ships. The hash suffix is that
of the package's /etc/swift/swift.conf.
By default it gives out objects of more than ten parts below 1 MiB at one part a second; here not.
"""

from __future__ import annotations

import getpass
import subprocess
from functools import partial

from tests.engines.ports import accepts, free_port
from tests.engines.process import EngineFailed, Process
from tests.engines.s3 import Access, S3Engine
from tests.engines.scratch import make_folder

PROGRAMS = (
    "swift-proxy-server",
    "swift-account-server",
    "swift-container-server",
    "swift-object-server",
    "memcached",
)
_STORES = ("account", "container", "object")

_DEFAULT = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = {workers}
user = {user}
swift_dir = {folder}
log_level = WARNING
log_address = {folder}/no-syslog
"""
_STORE = """\
devices = {folder}/devices
mount_check = false
disable_fallocate = true
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
recon_cache_path = {folder}/recon
"""
_MIDDLEWARE = (
    "catch_errors", "gatekeeper", "healthcheck", "cache", "listing_formats", "bulk", "s3api",
    "tempauth", "copy", "slo", "dlo",
)  # fmt: skip
_PROXY = """\
[pipeline:main]
pipeline = {pipeline} proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached_port}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
min_segment_size = {least_part_bytes}
auth_pipeline_check = true
[filter:slo]
use = egg:swift#slo
rate_limit_under_size = 0
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
"""
_RINGS = """\
import sys
from swift.common.ring import RingBuilder
for name, port in (word.split("=") for word in sys.argv[1:]):
    builder = RingBuilder(4, 1, 0)
    place = {"ip": "127.0.0.1", "port": int(port), "device": "one", "weight": 1}
    builder.add_dev(place | {"region": 1, "zone": 1})
    builder.rebalance()
    builder.get_ring().save(f"{name}.ring.gz")
"""
"""For the system's Python, which is Debian's Swift's; swift-ring-builder starts it 9 times."""
_SELF_EXPLAINING = set(_MIDDLEWARE) - {"cache", "s3api", "slo", "tempauth"}


class Swift(S3Engine):
    name = "swift"

    def __init__(
        self, *, workers: int = 0, least_part_bytes: int = S3Engine.least_part_bytes
    ) -> None:
        """Prepare a Swift whose servers have so many processes each; with 0, one that serves.

        It takes parts of so many bytes, by default as it ships.
        """
        self.least_part_bytes = least_part_bytes
        folder = make_folder("blobd-swift-", with_attributes=True)
        self._ports = {name: free_port() for name in (*_STORES, "proxy", "memcached")}
        self._workers = workers
        self._made = False
        commands = {
            name: [f"swift-{name}-server", str(folder / f"{name}-server.conf"), "-v"]
            for name in (*_STORES, "proxy")
        }
        memcached = f"-l 127.0.0.1 -p {self._ports['memcached']} -u {getpass.getuser()}"
        commands["memcached"] = ["memcached", *memcached.split()]
        self._by_name = {
            name: Process(f"swift's {name}", command, log=folder / f"{name}.log")
            for name, command in commands.items()
        }
        access = Access(f"http://127.0.0.1:{self._ports['proxy']}", "test:tester", "testing")
        super().__init__(access, folder, list(self._by_name.values()))

    def start(self) -> None:
        if not self._made:
            self._make()
            self._made = True
        for process in self.processes:
            process.start()
        for name, process in self._by_name.items():
            process.wait(partial(accepts, self._ports[name]))
        self._by_name["proxy"].wait(self._serves)

    def _make(self) -> None:
        (self.folder / "devices" / "one").mkdir(parents=True)
        (self.folder / "recon").mkdir()
        self._make_rings()
        for name in _STORES:
            self._configure(name, _STORE)
        filters = (f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _SELF_EXPLAINING)
        self._configure("proxy", _PROXY + "".join(filters))

    def _configure(self, name: str, template: str) -> None:
        text = (_DEFAULT + template).format(
            name=name,
            port=self._ports[name],
            folder=self.folder,
            user=getpass.getuser(),
            workers=self._workers,
            pipeline=" ".join(_MIDDLEWARE),
            memcached_port=self._ports["memcached"],
            least_part_bytes=self.least_part_bytes,
        )
        (self.folder / f"{name}-server.conf").write_text(text)

    def _make_rings(self) -> None:
        ports = [f"{name}={self._ports[name]}" for name in _STORES]
        command = ["/usr/bin/python3", "-c", _RINGS, *ports]
        made = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        if made.returncode != 0:
            raise EngineFailed(f"Swift's rings: {made.stdout}{made.stderr}")
