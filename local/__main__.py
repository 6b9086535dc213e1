"""`python -m local up | down | demo`: the embedded stack from the command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from local.demo import DemoOptions, run_demo
from local.processes import ROOT
from local.up import start_behind, stay, stop
from rolekeeper.client.options import Training, spread
from rolekeeper.errors import RolekeeperError

State = Annotated[Path, typer.Option(help="Folder for data, logs and results")]
InputFile = typer.Option(exists=True, dir_okay=False, readable=True)
DEFAULT_STATE = ROOT / ".rolekeeper"

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def up(
    state: State = DEFAULT_STATE,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, until Ctrl-C")] = False,
) -> None:
    """Start the stack and print where it answers and its key."""
    with _errors():
        (stay if foreground else start_behind)(state)


@app.command()
def down(state: State = DEFAULT_STATE) -> None:
    """Stop the stack. Its data stays for the next `up`."""
    with _errors():
        stop(state)


@app.command()
@spread
def demo(
    training: Training,
    character: Annotated[Path, InputFile] = ROOT / "examples" / "character.json",
    dialogues: Annotated[Path, InputFile] = ROOT / "examples" / "dialogues.jsonl",
    state: State = DEFAULT_STATE,
) -> None:
    """Train a character on a stack of its own, and print what it did to safety."""
    with _errors():
        run_demo(DemoOptions(character.resolve(), dialogues.resolve(), training, state))


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except RolekeeperError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    app()
