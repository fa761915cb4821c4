"""From errors to one line on standard error and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click

from blobd.errors import BlobdError, ConfigInvalid


class _Failure(click.ClickException):
    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"blobd: {self.message}", file=file, err=file is None)


class _WrongSetting(_Failure):
    exit_code = 2


class Commands(click.Group):
    """The group of all commands; what they raise on purpose becomes a line, not a trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigInvalid as error:
            raise _WrongSetting(str(error)) from error
        except BlobdError as error:
            raise _Failure(str(error)) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            raise _Failure(f"{where}{error.strerror or error}") from error
