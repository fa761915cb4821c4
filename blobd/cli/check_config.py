"""`blobd check-config`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.settings import with_config
from blobd.config import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from blobd.config import Config, Setting, Value

_HIDDEN = "(hidden)"


@click.command(short_help="Print what settings are in force, and where from.")
@with_config(listening=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_config(config: Config, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Check the settings and print what is in force, and where each value came from.

    Takes the options of `serve`. Secrets are not shown. Exit code 2 when a setting is wrong. What
    other users of this machine could read of the data folder is said on standard error.
    """
    # Loaded here, so that `blobd --help` does not wait for a server's imports.
    from blobd.app import open_secrets
    from blobd.supervise import check_addresses

    check_addresses(config)
    for problem in open_secrets(config):
        click.echo(f"blobd: warning: {problem}", err=True)
    for line in config.ignored:
        click.echo(f"blobd: warning: {line}", err=True)
    if as_json:
        show.as_json(
            {
                setting.key: {
                    "value": value,
                    "origin": config.origins[setting.key],
                    "default": setting.default,
                    "variable": setting.variable,
                    "reason": setting.reason,
                }
                for setting, value in _effective(config)
            }
        )
        return
    show.table(
        ("setting", "value", "from", "what it is"),
        (
            (setting.key, _printed(value), config.origins[setting.key], setting.reason)
            for setting, value in _effective(config)
        ),
    )


def _effective(config: Config) -> Iterator[tuple[Setting, Value]]:
    for setting in settings():
        section, _, name = setting.key.partition(".")
        value = getattr(getattr(config, section), name)
        yield setting, _HIDDEN if setting.secret and value else value


def _printed(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return f"{value:,}".replace(",", "_")
    return value if isinstance(value, str) else ", ".join(value)
