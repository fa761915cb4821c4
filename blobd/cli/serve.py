"""`blobd serve`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config


@click.command
@with_config(listening=True)
def serve(config: Config) -> None:
    """Run the daemon until SIGTERM or Ctrl-C.

    Without any option the registry listens on 127.0.0.1:5000, the blob API with health and metrics
    on 127.0.0.1:5080, and data lives in ./blobd-data. The first start makes an administrator and
    prints its token, once.

    Every setting can come from the file given by --config, from the environment as
    BLOBD_<SECTION>__<NAME> (BLOBD_LIMITS__MAX_BLOB_BYTES=5000000000), and from the options below;
    each overrides the one before. `blobd check-config` lists all settings, their meaning, and
    where each value comes from.

    \b
    Examples:
      blobd serve
      blobd serve --data /srv/blobd --listen 0.0.0.0:5000
      blobd serve --config /etc/blobd.toml --blob-api unix:/run/blobd.sock

    On SIGTERM no new connection is taken, running transfers get limits.drain_timeout_s to finish,
    and uploads that do not make it can be continued after the next start.
    """
    # Loaded here, so that `blobd --help` does not wait for a server's imports.
    from blobd.supervise import serve as run

    sys.exit(run(config))
