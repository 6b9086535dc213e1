"""What one run of the command line holds: the client, where to print, and which exit code an error gives."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console, RenderableType

from rolekeeper.client.client import Client
from rolekeeper.client.errors import ApiError, is_transient
from rolekeeper.client.options import Connection
from rolekeeper.client.progress import tell_retry
from rolekeeper.errors import InvalidInput, RolekeeperError

M = TypeVar("M", bound=BaseModel)
REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    AUTH = 3
    INTERRUPTED = 130


@dataclass(frozen=True)
class Session:
    """The client, the terminal, and whether a script reads stdout."""

    client: Client
    stderr: Console
    json: bool

    def show(self, models: Iterable[M], render: Callable[[Iterable[M]], RenderableType]) -> None:
        """Print the models: one JSON object a line for scripts, `render` for people."""
        if not self.json:
            Console().print(render(models))
            return
        for model in models:
            self.show_json(model)

    def show_json(self, model: BaseModel) -> None:
        """Print one JSON object on one line."""
        typer.echo(model.model_dump_json())

    def say(self, text: str) -> None:
        """Print a line for people on stdout; scripts do not get it."""
        if not self.json:
            typer.echo(text)


@contextlib.contextmanager
def open_session(connection: Connection) -> Iterator[Session]:
    """A session over one connection, at the edge of the command line."""
    stderr = Console(stderr=True)
    with (
        exit_codes(),
        Client(connection.url, connection.api_key, on_retry=partial(tell_retry, stderr)) as client,
    ):
        yield Session(client, stderr, connection.json)


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """The edge of the command line: an error becomes a message on stderr and an exit code."""
    try:
        yield
    except RolekeeperError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(exit_code(error)) from error
    except OSError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(Exit.FAILED) from error
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(Exit.INTERRUPTED) from None


def exit_code(error: RolekeeperError) -> Exit:
    """The exit code that tells a script what kind of error this was."""
    if isinstance(error, InvalidInput):
        return Exit.USAGE
    if isinstance(error, ApiError):
        if error.status in REFUSED:
            return Exit.AUTH
        is_ours = HTTPStatus.BAD_REQUEST <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return Exit.USAGE if is_ours and not is_transient(error) else Exit.FAILED
    return Exit.FAILED
