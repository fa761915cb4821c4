"""From errors to one line on standard error and an exit code."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import click

from blobd.cli.streams import open_closed_streams
from blobd.errors import BlobdError, ConfigInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Failure(click.ClickException):
    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"blobd: {self.message}", file=file, err=file is None)


class _WrongSetting(_Failure):
    exit_code = 2


class Commands(click.Group):
    """The group of all commands; what they raise on purpose becomes a line, not a trace."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        open_closed_streams()
        return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _in_one_line():  # --help and --version print in here
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn what is raised on purpose into what click prints as one line."""
    try:
        yield
    except ConfigInvalid as error:
        raise _WrongSetting(str(error)) from error
    except BlobdError as error:
        raise _Failure(str(error)) from error
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("blobd.registry"):
            raise
        raise _Failure("this blobd was installed without the registry") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        why = error.strerror or str(error)
        if error.errno == errno.EBADF and not where:
            why += " (is standard input or output closed?)"
        raise _Failure(f"{where}{why}") from error
