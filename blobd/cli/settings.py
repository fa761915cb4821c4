"""The options that make a configuration, for every command that needs one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobd.config import load

if TYPE_CHECKING:
    from blobd.config import Config, Value

Command = Callable[..., None]

_OPTIONS = (
    click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="BLOBD_CONFIG",
        show_envvar=True,
        help="A TOML file of settings, in sections such as [limits].",
    ),
    click.option("--data", metavar="FOLDER", help="Where blobs live. Short for store.path."),
    click.option(
        "--set",
        "pairs",
        metavar="SECTION.NAME=VALUE",
        multiple=True,
        help="Any setting, for example limits.max_blob_bytes=5000000000. May be repeated.",
    ),
)
_LISTENING = (
    click.option(
        "--listen",
        metavar="ADDRESS",
        help="Where the registry listens: host:port, unix:/path, or '' for nowhere. "
        "Short for registry.listen.",
    ),
    click.option(
        "--blob-api",
        metavar="ADDRESS",
        help="Where the blob API, health and metrics listen. Short for blob_api.listen.",
    ),
    click.option(
        "--workers",
        metavar="N",
        help="Serving processes; 0: one for each CPU. Short for server.workers.",
    ),
    click.option(
        "--no-auth",
        "auth",
        flag_value=False,
        type=bool,
        default=None,
        help="Let everyone push, pull and delete, on a loopback address or a unix socket alone. "
        "Short for registry.auth=false.",
    ),
)
_SHORT_FOR = {
    "data": "store.path",
    "listen": "registry.listen",
    "blob_api": "blob_api.listen",
    "workers": "server.workers",
    "auth": "registry.auth",
}


def with_config(*, listening: bool = False) -> Callable[[Command], Command]:
    """Give a command the configuration options, and the Config they make as its first argument."""

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(file: Path | None, pairs: tuple[str, ...], **options: Any) -> None:
            flags = dict(map(_pair, pairs))
            for option, key in _SHORT_FOR.items():
                value = options.pop(option, None)
                if value is not None:
                    flags[key] = value
            command(_loaded(file, flags), **options)

        for option in reversed((*_OPTIONS, *(_LISTENING if listening else ()))):
            run = option(run)
        return run

    return decorate


def _pair(text: str) -> tuple[str, Value]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: must be SECTION.NAME=VALUE")
    return key.strip(), value.strip()


def _loaded(file: Path | None, flags: dict[str, Value]) -> Config:
    return load(file=file, environment=os.environ, flags=flags)
