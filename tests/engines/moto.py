"""moto's S3: here everywhere, up in half a second.

It checks neither signatures nor checksums, forgets everything when it is killed, and grows with
every byte: proof of nothing about any of these.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.engines.ports import free_port
from tests.engines.process import Process
from tests.engines.s3 import Access, S3Engine
from tests.engines.scratch import make_folder

_ROOT = Path(__file__).parents[2]


class Moto(S3Engine):
    name = "moto"
    forgets = True

    def __init__(self, *, least_part_bytes: int = S3Engine.least_part_bytes) -> None:
        """Prepare a server that takes parts of so many bytes, by default as it ships."""
        self.least_part_bytes = least_part_bytes
        port = free_port()
        folder = make_folder("blobd-moto-")
        command = [sys.executable, "-m", "tests.engines.moto_serving", str(port)]
        environment = {
            **os.environ,
            "S3_UPLOAD_PART_MIN_SIZE": str(least_part_bytes),
            "PYTHONPATH": str(_ROOT),
        }
        self._process = Process("moto", command, log=folder / "log", environment=environment)
        access = Access(f"http://127.0.0.1:{port}", "test", "testing")
        super().__init__(access, folder, [self._process])

    def start(self) -> None:
        self._process.start()
        self._process.wait(self._serves)
