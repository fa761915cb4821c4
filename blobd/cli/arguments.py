"""Arguments and options that several commands take."""

from __future__ import annotations

import click

from blobd.digest import Digest, MalformedDigest

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
PACKAGE = click.argument("full_name", metavar="OWNER/NAME")


def parsed_digest(_: click.Context, __: click.Parameter, text: str | None) -> Digest | None:
    """Return a digest of a text; the callback of options and arguments that are one."""
    try:
        return Digest.parse(text) if text is not None else None
    except MalformedDigest as error:
        raise click.BadParameter(str(error)) from error
