"""The command line. Each command loads what it needs, calls below, and shows what came back.

Exit codes: 0 done; 1 it failed; 2 a wrong setting, option or argument. Failures are one line on
standard error; what a script would read goes to standard output, as JSON with `--json`.
"""

from __future__ import annotations

import click

from blobd import __version__
from blobd.cli.accounts import org, user
from blobd.cli.check_config import check_config
from blobd.cli.failures import Commands
from blobd.cli.fsck import fsck
from blobd.cli.package_access import grant, link, revoke, roles, unlink
from blobd.cli.package_labels import audit_links
from blobd.cli.package_trash import delete, restore
from blobd.cli.packages import package
from blobd.cli.repos import repo
from blobd.cli.scrub import scrub
from blobd.cli.serve import serve
from blobd.cli.store import adopt, du, gc
from blobd.cli.teams import team
from blobd.cli.tokens import key, token
from blobd.cli.transfers import pull, push
from blobd.cli.uploads import uploads


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="blobd", message="blobd %(version)s")
def main() -> None:
    """Blobd stores immutable bytes under their digest and serves container images.

    `blobd serve` runs the daemon; `check-config` shows what it would run with. `push` and `pull`
    are clients of a running daemon. All others work on its data folder and its catalog directly,
    also while it runs; give them the same --config as the daemon.
    """


for command in (serve, check_config, push, pull, uploads, du, gc, fsck, scrub, adopt):
    main.add_command(command)
for command in (link, unlink, roles, grant, revoke, delete, restore, audit_links):
    package.add_command(command)
for group in (user, org, team, repo, package, token, key):
    main.add_command(group)
