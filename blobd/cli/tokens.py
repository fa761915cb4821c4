"""`blobd token` and `blobd key`: what people log in with, and what that is signed with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import change, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config

_SCOPES = ["read:packages", "write:packages", "delete:packages"]
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DIGITS_MAX = 9


class _Lifetime(click.ParamType[float | None]):
    """`30d`, `12h`, `90m` or `never`, as seconds."""

    name = "lifetime"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if value == "never":
            return None
        number, unit = value[:-1], value[-1:]
        digits = number.isascii() and number.isdigit() and len(number) <= _DIGITS_MAX
        if not (digits and int(number) and unit in _UNITS_S):
            self.fail(f"{value!r} is not a lifetime such as 30d, 12h or never", param, ctx)
        return float(int(number) * _UNITS_S[unit])


@click.group
def token() -> None:
    """Make personal access tokens, which are the passwords of this registry."""


@token.command("create")
@with_config()
@click.option("--user", "user_name", required=True, help="Whose it is.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(_SCOPES),
    multiple=True,
    required=True,
    help="What it is for; may be repeated. Writing includes reading.",
)
@click.option(
    "--expires",
    "lifetime_s",
    type=_Lifetime(),
    default="90d",
    show_default=True,
    help="After how long it ends: 30d, 12h, or never.",
)
@click.option("--note", default="", help="What its owner will know it by.")
@JSON
def create(
    config: Config,
    user_name: str,
    scopes: tuple[str, ...],
    lifetime_s: float | None,
    note: str,
    as_json: bool,  # noqa: FBT001 - click's way
) -> None:
    """Make a token and print it, once: what is stored is a hash."""
    from blobd.registry.identity import tokens

    made = change(
        config,
        lambda catalog: tokens.create_token(
            catalog, user_name, scopes=scopes, note=note, lifetime_s=lifetime_s
        ),
        noted=f"token create {user_name} {' '.join(scopes)}",
        said=None,
    )
    if as_json:
        show.as_json({"id": made.token_id, "token": made.secret, "expires_at": made.expires_at})
    else:
        click.echo(made.secret)
        ends = "" if made.expires_at is None else f", until {show.moment(made.expires_at)}"
        said = f"made {made.token_id} for {user_name}: {' '.join(scopes)}{ends}; not shown again"
        click.echo(said, err=True)


@token.command("ls")
@with_config()
@click.option("--user", "user_name", required=True, help="Whose.")
@JSON
def list_tokens(config: Config, user_name: str, as_json: bool) -> None:  # noqa: FBT001
    """List a user's tokens, the newest first."""
    from blobd.registry.identity import tokens

    found = on_catalog(config, lambda catalog: tokens.list_tokens(catalog, user_name))
    rows = [
        (
            one.token_id,
            f"{one.hint}…",
            one.scopes,
            show.moment(one.created_at),
            "never" if one.expires_at is None else show.moment(one.expires_at),
            "never" if one.last_used_at is None else show.moment(one.last_used_at),
            "" if one.revoked_at is None else "revoked",
            one.note,
        )
        for one in found
    ]
    headers = ("id", "token", "scopes", "created", "expires", "last used", "state", "note")
    show.records(headers, rows, as_json=as_json)


@token.command("revoke")
@with_config()
@click.argument("token_id", metavar="ID")
def revoke(config: Config, token_id: str) -> None:
    """End a token by its id; it counts no longer from the next request."""
    from blobd.registry.identity import tokens

    change(
        config,
        lambda catalog: tokens.revoke_token(catalog, token_id),
        noted=f"token revoke {token_id}",
        said=f"revoked {token_id}: it does not count from the next request on",
    )


@click.group
def key() -> None:
    """Keep the keys that bearer tokens are signed with."""


@key.command("ls")
@with_config()
@JSON
def list_keys(config: Config, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List the keys in use; the first one signs."""
    from blobd.registry.identity import signing_keys

    seals = signing_keys.open_seals(config)
    found = on_catalog(config, lambda catalog: signing_keys.load_signing_keys(catalog, seals))
    rows = [(one.kid, show.moment(one.created_at)) for one in found]
    show.records(("key", "created"), rows, as_json=as_json)


@key.command("rotate")
@with_config()
def rotate(config: Config) -> None:
    """Sign with a new key from within a minute; what older ones signed counts until it ends."""
    from blobd.registry.identity import signing_keys

    seals = signing_keys.open_seals(config)
    made = change(
        config,
        lambda catalog: signing_keys.add_signing_key(catalog, seals),
        noted="key rotate",
        said=None,
    )
    click.echo(made[0].kid)
    click.echo("this new key signs within a minute; older ones verify until theirs end", err=True)
