"""SeaweedFS: master, volume server, filer and S3 gateway in one process, from PyPI.

Conditional PutObject has one winner, signatures are checked, parts below 5 MiB are refused as by
AWS, open multipart uploads outlive kill -9. It completes a multipart upload by the ETag of a part
that was overwritten, and serves the old bytes. A bucket has volumes of its own, so there may be
many of them here, each small.
"""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from tests.engines.ports import accepts, free_port
from tests.engines.process import Process
from tests.engines.s3 import Access, S3Engine
from tests.engines.scratch import make_folder

_PORTS = {
    "master": ("-master.port", "-master.port.grpc"),
    "volume": ("-volume.port", "-volume.port.grpc"),
    "filer": ("-filer.port", "-filer.port.grpc"),
    "s3": ("-s3.port", "-s3.port.grpc"),
}


def program() -> str | None:
    """Return where `weed` is: beside this Python, as pip installs it, or on the path."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


class SeaweedFS(S3Engine):
    name = "seaweedfs"

    def __init__(self) -> None:
        folder = make_folder("blobd-seaweedfs-")
        flags = {flag: free_port() for pair in _PORTS.values() for flag in pair}
        self._ports = [flags[listen] for listen, _ in _PORTS.values()]
        access = Access(f"http://127.0.0.1:{flags['-s3.port']}", "test", "testing-blobd")
        (folder / "data").mkdir()
        credential = {"accessKey": access.access_key_id, "secretKey": access.secret_access_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "blobd", "credentials": [credential], "actions": actions}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._process = Process(
            "SeaweedFS",
            [
                *(program() or "weed", "server", "-s3", f"-dir={folder}/data"),
                *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false"),
                *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder}/s3.json"),
                *("-volume.max=10000", "-master.volumeSizeLimitMB=1024"),
                *(f"-{part}.localSocket={folder}/{part}.sock" for part in ("filer", "s3")),
                *(f"{flag}={port}" for flag, port in flags.items()),
            ],
            log=folder / "log",
        )
        self._made = False
        super().__init__(access, folder, [self._process])

    def start(self) -> None:
        self._process.start()
        for port in self._ports:
            self._process.wait(partial(accepts, port))
        self._process.wait(self._serves_bytes)

    def _serves_bytes(self) -> bool:
        """Whether bytes can be written and read: the gateway is up before its volumes are known."""
        client = self.access.client()
        target = {"Bucket": "ready", "Key": "ready"}
        try:
            if not self._made:
                client.create_bucket(Bucket="ready")
                client.put_object(**target, Body=b"ready")
                self._made = True
            ready: bool = client.get_object(**target)["Body"].read() == b"ready"
        except (BotoCoreError, ClientError):
            return False
        return ready
