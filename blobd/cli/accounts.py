"""`blobd user` and `blobd org`: users, organisations and their members."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobd.cli import show
from blobd.cli.arguments import JSON
from blobd.cli.opened import change, on_catalog
from blobd.cli.settings import with_config

if TYPE_CHECKING:
    from blobd.config import Config


@click.group
def user() -> None:
    """Make users, shut them out, let them in again. Works beside a running daemon."""


@user.command("add")
@with_config()
@click.argument("name")
@click.option("--admin", is_flag=True, help="It may everything, everywhere.")
def add_user(config: Config, name: str, admin: bool) -> None:  # noqa: FBT001 - click's way
    """Make a user; `blobd token create` gives it a token to log in with."""
    from blobd.registry.identity import accounts

    rank = "administrator" if admin else "user"
    change(
        config,
        lambda catalog: accounts.add_user(catalog, name, is_administrator=admin),
        noted=f"user add {name}",
        said=f"made the {rank} {name}; `blobd token create` gives it a token",
    )


@user.command("ls")
@with_config()
@JSON
def list_users(config: Config, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List users."""
    _show_accounts(config, "user", as_json=as_json)


@user.command
@with_config()
@click.argument("name")
def disable(config: Config, name: str) -> None:
    """Shut a user out: none of its tokens counts from now."""
    from blobd.registry.identity import accounts

    change(
        config,
        lambda catalog: accounts.disable_user(catalog, name),
        noted=f"user disable {name}",
        said=f"disabled {name}: none of its tokens counts from now",
    )


@user.command
@with_config()
@click.argument("name")
def enable(config: Config, name: str) -> None:
    """Let a user in again, with the tokens it had."""
    from blobd.registry.identity import accounts

    change(
        config,
        lambda catalog: accounts.enable_user(catalog, name),
        noted=f"user enable {name}",
        said=f"enabled {name}, with the tokens it had",
    )


@click.group
def org() -> None:
    """Create organisations and manage their members."""


@org.command("add")
@with_config()
@click.argument("name")
@click.option("--owner", required=True, help="The user who owns it.")
def add_organisation(config: Config, name: str, owner: str) -> None:
    """Make an organisation."""
    from blobd.registry.identity import accounts

    change(
        config,
        lambda catalog: accounts.add_organisation(catalog, name, owner=owner),
        noted=f"org add {name} of {owner}",
        said=f"made the organisation {name}, owned by {owner}",
    )


@org.command("ls")
@with_config()
@JSON
def list_organisations(config: Config, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List organisations."""
    _show_accounts(config, "organisation", as_json=as_json)


@org.command("members")
@with_config()
@click.argument("name")
@JSON
def list_members(config: Config, name: str, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """List the members of an organisation."""
    from blobd.registry.identity import accounts

    found = on_catalog(config, lambda catalog: accounts.list_members(catalog, name))
    rows = [(member.name, member.role) for member in found]
    show.records(("user", "role"), rows, as_json=as_json)


@org.command("set")
@with_config()
@click.argument("name")
@click.argument("user_name", metavar="USER")
@click.option("--role", type=click.Choice(["owner", "member"]), default="member", help="As what.")
def set_member(config: Config, name: str, user_name: str, role: str) -> None:
    """Let a user belong to an organisation; owners are admins of all its packages."""
    from blobd.registry.identity import accounts

    change(
        config,
        lambda catalog: accounts.set_member(catalog, name, user_name, role),
        noted=f"org set {name} {user_name} {role}",
        said=f"{user_name} belongs to {name}, as {role}",
    )


@org.command("inherit")
@with_config()
@click.argument("name")
@click.argument("inherit", type=click.Choice(["on", "off"]))
def set_packages_inherit(config: Config, name: str, inherit: str) -> None:
    """Say whether new packages inherit access from their source repository."""
    from blobd.registry.identity import accounts

    verb = "inherit" if inherit == "on" else "do not inherit"
    change(
        config,
        lambda catalog: accounts.set_packages_inherit(catalog, name, inherit=inherit == "on"),
        noted=f"org inherit {name} {inherit}",
        said=f"new packages of {name} {verb} access from their source repository",
    )


@org.command("rm")
@with_config()
@click.argument("name")
@click.argument("user_name", metavar="USER")
def remove_member(config: Config, name: str, user_name: str) -> None:
    """End that a user belongs to an organisation."""
    from blobd.registry.identity import accounts

    change(
        config,
        lambda catalog: accounts.remove_member(catalog, name, user_name),
        noted=f"org rm {name} {user_name}",
        said=f"{user_name} no longer belongs to {name}",
    )


def _show_accounts(config: Config, kind: str, *, as_json: bool) -> None:
    from blobd.registry.identity import accounts

    found = on_catalog(config, lambda catalog: accounts.list_accounts(catalog, kind))
    rows = [
        (
            account.name,
            "administrator" if account.is_administrator else "",
            "" if account.disabled_at is None else "disabled",
            show.moment(account.created_at),
        )
        for account in found
    ]
    show.records(("name", "rank", "state", "created"), rows, as_json=as_json)
