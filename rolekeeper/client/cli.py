"""The command `rolekeeper`: submit a character, watch its job, fetch the report and the adapter.

Exit codes: 0 ok, 1 the job or the call failed, 2 wrong usage or input, 3 the key was refused, 130 Ctrl-C.
What a command needs is imported when it runs, so that `--help` is quick.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rolekeeper.client.options import Connection, OptionalConnection, Training, spread

if TYPE_CHECKING:
    from rolekeeper.client.commands import Commands

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, job_...")]
OptionalJobId = Annotated[str | None, typer.Argument(metavar="[JOB]", help="Id of the job, job_...")]
Note = Annotated[str, typer.Option(help="Why; it stays in the audit log")]
InputFile = typer.Argument(exists=True, dir_okay=False, readable=True)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fine-tune role-play characters without losing the base model's safety.",
    epilog="Exit codes: 0 ok, 1 the job or the call failed, 2 wrong usage or input, 3 the key was refused, 130 Ctrl-C.",
)


def main() -> None:
    """Entry point."""
    app()


@app.command()
@spread
def submit(
    character: Annotated[Path, InputFile],
    dialogues: Annotated[Path, InputFile],
    training: Training,
    connection: Connection,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job to its end")] = False,
) -> None:
    """Store the character in CHARACTER (JSON: name, profile) with DIALOGUES (JSONL), and start a job."""
    with _open(connection) as commands:
        commands.submit(character, dialogues, training, watch)


@app.command()
@spread
def jobs(
    connection: Connection,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first")] = 20,
) -> None:
    """List the newest jobs."""
    with _open(connection) as commands:
        commands.list_jobs(limit)


@app.command()
@spread
def watch(job: JobId, connection: Connection) -> None:
    """Follow a job to its end. Ctrl-C leaves the job running."""
    with _open(connection) as commands:
        commands.watch(job)


@app.command()
@spread
def scores(
    job: JobId,
    connection: Connection,
    summary: Annotated[bool, typer.Option("--summary", help="Print what all scores amount to instead")] = False,
) -> None:
    """Print the scores of every sample: s_role, s_unsafe, margin, harmful."""
    with _open(connection) as commands:
        if summary:
            commands.show_summary(job)
        else:
            commands.show_scores(job)


@app.command()
@spread
def report(
    connection: OptionalConnection,
    job: OptionalJobId = None,
    source: Annotated[
        Path | None, typer.Option("--from", dir_okay=False, help="A report.json, in place of JOB")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", dir_okay=False, help="Write it as a page to this file")] = None,
) -> None:
    """Print the safety report, base model against tuned model, or write it as a page that needs no network."""
    if (job is None) == (source is None):
        raise typer.BadParameter("name a JOB, or give --from with a file")
    if source is not None:
        _report_from(source, html, connection.json)
    elif job is not None:
        with _open(connection.needed()) as commands:
            commands.report(job, html)


@app.command()
@spread
def card(job: JobId, connection: Connection) -> None:
    """Print the adapter's model card with the results of the safety report in it, as the Hugging Face hub reads it."""
    with _open(connection) as commands:
        commands.show_card(job)


@app.command()
@spread
def download(
    job: JobId,
    connection: Connection,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder to write to")] = Path(),
) -> None:
    """Download the adapter and verify its sha256. A download that was cut goes on where it stopped."""
    with _open(connection) as commands:
        commands.download(job, out)


@app.command()
@spread
def cancel(job: JobId, connection: Connection) -> None:
    """Ask for a job to stop."""
    with _open(connection) as commands:
        commands.cancel(job)


@app.command()
@spread
def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Jobs that have ended, characters, files")],
    connection: Connection,
) -> None:
    """Delete jobs, characters without jobs, and uploaded files. It can't be undone."""
    with _open(connection) as commands:
        commands.delete(ids)


@app.command()
@spread
def pause(job: JobId, connection: Connection) -> None:
    """Ask for a job to make room. A training run stops with a checkpoint."""
    with _open(connection) as commands:
        commands.pause(job)


@app.command()
@spread
def resume(job: JobId, connection: Connection) -> None:
    """Let a paused job go on where it was."""
    with _open(connection) as commands:
        commands.resume(job)


@app.command()
@spread
def release(job: JobId, connection: Connection, note: Note) -> None:
    """Let a withheld adapter out. It needs a key with the scope safety:approve."""
    with _open(connection) as commands:
        commands.decide(job, note, is_released=True)


@app.command()
@spread
def withhold(job: JobId, connection: Connection, note: Note) -> None:
    """Hold an adapter back. It needs a key with the scope safety:approve."""
    with _open(connection) as commands:
        commands.decide(job, note, is_released=False)


@app.command()
@spread
def audit(
    connection: Connection,
    job: Annotated[str | None, typer.Option(help="Only entries about this job")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first")] = 20,
) -> None:
    """List who decided what on which adapter. It needs a key with the scope safety:approve or audit:read."""
    with _open(connection) as commands:
        commands.show_audit(job, limit)


@app.command()
@spread
def evaluate(
    report: Annotated[Path, typer.Option(exists=True, dir_okay=False, readable=True, help="A report.json")],
    connection: Connection,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Where to write the new report")] = None,
) -> None:
    """Make a report again: evaluate its adapter with its options, and say whether answers and verdicts are the same.

    The exit code is 1 if they are not.
    """
    with _open(connection) as commands:
        commands.evaluate(report, out)


def _open(connection: Connection) -> AbstractContextManager[Commands]:
    # Imported here, or `--help` would wait for httpx and pydantic.
    from rolekeeper.client.commands import open_commands  # noqa: PLC0415 - see above

    return open_commands(connection)


def _report_from(source: Path, html: Path | None, as_json: bool) -> None:
    from rolekeeper.client.reports import show_stored  # noqa: PLC0415 - as above

    show_stored(source, html, as_json)
