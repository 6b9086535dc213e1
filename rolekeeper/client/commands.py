"""What the commands do, once they are parsed and the session is open."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from rolekeeper.client.decisions import decide, evaluate_again, is_withheld, show_audit, withheld_lines
from rolekeeper.client.options import Connection, Training
from rolekeeper.client.progress import follow
from rolekeeper.client.reports import show
from rolekeeper.client.session import Exit, Session, open_session
from rolekeeper.client.tables import jobs_table, scores_table, summary_tables
from rolekeeper.contracts.characters import CharacterCreate, RoleProfile
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import AskedHyperparameters, Job, JobCreate, Method, Status
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput, JobCancelled, StageFailed

Read = TypeVar("Read", bound=BaseModel)


class Downloaded(BaseModel):
    """What `download --json` prints."""

    job: str
    path: str
    bytes: int


class Commands:
    """The commands of `rolekeeper`, each a call or two and what is printed of the answers."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def submit(self, character: Path, dialogues: Path, training: Training, and_watch: bool) -> None:
        """Upload, create the character, start the job."""
        profile = read_profile(character)
        wanted = job_create("", training)  # wrong options are found before anything is stored
        uploaded = self._session.client.upload_dialogues(dialogues)
        created = self._session.client.create_character(
            CharacterCreate(**profile.model_dump(), dialogue_file=uploaded.id)
        )
        self._session.say(f"{created.id}  {created.name}: {created.num_dialogues} dialogues")
        for note in created.notes:
            self._session.stderr.print(f"note: {note}", highlight=False, markup=False)
        job = self._session.client.create_job(wanted.model_copy(update={"character": created.id}))
        if and_watch:
            self._session.say(f"{job.id}  {job.status}")
            self.watch(job.id)
        elif self._session.json:
            self._session.show_json(job)
        else:
            self._session.say(f"{job.id}  {job.status}; follow it with: rolekeeper watch {job.id}")

    def list_jobs(self, limit: int) -> None:
        """The newest jobs."""
        self._session.show(self._session.client.jobs(limit), jobs_table)

    def watch(self, job_id: str) -> None:
        """Follow a job; the exit code says how it ended.

        Raises:
            StageFailed: the job failed.
            JobCancelled: it was cancelled.
        """
        try:
            job = follow(
                self._session.client,
                job_id,
                self._session.stderr,
                self._session.show_json if self._session.json else None,
            )
        except KeyboardInterrupt:
            typer.echo(f"The job goes on; watch it again with: rolekeeper watch {job_id}", err=True)
            raise typer.Exit(Exit.INTERRUPTED) from None
        if job.status == Status.CANCELLED:
            raise JobCancelled(f"{job.id} was cancelled")
        if job.status == Status.FAILED:
            raise StageFailed(f"{job.id} failed: {_reason(job)}")
        if is_withheld(job):
            self._session.say("\n".join(withheld_lines(job)))
        else:
            self._session.say(f"{job.id} succeeded; next: rolekeeper report {job.id}, rolekeeper download {job.id}")

    def show_scores(self, job_id: str) -> None:
        """All scores of a job."""
        self._session.show(self._session.client.scores(job_id), scores_table)

    def show_summary(self, job_id: str) -> None:
        """What all scores of a job amount to."""
        summary = self._session.client.score_summary(job_id)
        self._session.show([summary], lambda summaries: summary_tables(*summaries))

    def report(self, job_id: str, html: Path | None) -> None:
        """The safety report of a job, as tables or as a page in the file `html`."""
        show(self._session.client.report(job_id), html, self._session.json)

    def show_card(self, job_id: str) -> None:
        """The model card of a job's adapter."""
        typer.echo(self._session.client.card(job_id), nl=False)

    def download(self, job_id: str, folder: Path) -> None:
        """The adapter of a job, verified."""
        columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self._session.stderr, disable=not self._session.stderr.is_terminal) as bars:
            task = bars.add_task("adapter", total=None)
            path = self._session.client.download_adapter(
                job_id, folder, lambda done, total: bars.update(task, completed=done, total=total)
            )
        if self._session.json:
            self._session.show_json(Downloaded(job=job_id, path=str(path), bytes=path.stat().st_size))
        else:
            self._session.say(str(path))

    def decide(self, job_id: str, note: str, is_released: bool) -> None:
        """Release a job's adapter, or withhold it."""
        decide(self._session, job_id, note, is_released)

    def show_audit(self, job_id: str | None, limit: int) -> None:
        """The newest entries of the audit log."""
        show_audit(self._session, job_id, limit)

    def evaluate(self, report: Path, out: Path | None) -> None:
        """Make a report again and say what differs."""
        evaluate_again(self._session, report, out)

    def cancel(self, job_id: str) -> None:
        """Ask for a job to stop."""
        job = self._session.client.cancel(job_id)
        self._show_wish(job, "" if job.finished_at else "it stops at its next heartbeat")

    def delete(self, ids: list[str]) -> None:
        """Delete what has these ids, the jobs first: a character can't go before them."""
        for resource_id in sorted(ids, key=lambda name: not name.startswith("job_")):
            deleted = self._session.client.delete(resource_id)
            if self._session.json:
                self._session.show_json(deleted)
            else:
                erased = f"its bytes are erased after {deleted.erased_after:%Y-%m-%d %H:%M} UTC"
                self._session.say(f"{deleted.id}  deleted; {erased}")

    def pause(self, job_id: str) -> None:
        """Ask for a job to make room."""
        job = self._session.client.pause(job_id)
        self._show_wish(job, "" if job.status == Status.PAUSED else "it stops after its next heartbeat")

    def resume(self, job_id: str) -> None:
        """Let a paused job go on."""
        job = self._session.client.resume(job_id)
        self._show_wish(job, f"follow it with: rolekeeper watch {job.id}")

    def _show_wish(self, job: Job, what_next: str) -> None:
        if self._session.json:
            self._session.show_json(job)
        else:
            self._session.say("; ".join(part for part in (f"{job.id}  {job.status}", what_next) if part))


@contextlib.contextmanager
def open_commands(connection: Connection) -> Iterator[Commands]:
    """The commands over one connection. Errors become exit codes when the block ends."""
    with open_session(connection) as session:
        yield Commands(session)


def read_profile(path: Path) -> RoleProfile:
    """The role profile in a JSON file: an object with `name` and `profile`.

    Raises:
        InvalidInput: the file holds something else.
    """
    return _read(path, RoleProfile, "a role profile, a JSON object with name and profile")


def read_evaluation(path: Path) -> EvaluationOptions:
    """What a job is measured by, from a JSON file: an object with `suites`, `judges`, `gate` and the like.

    Raises:
        InvalidInput: the file holds something else.
    """
    return _read(path, EvaluationOptions, "the evaluation of a job, a JSON object with suites, judges or gate")


def _read(path: Path, kind: type[Read], what: str) -> Read:
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InvalidInput(f"{path} is not {what}{_problems(error)}") from error


def job_create(character: str, training: Training) -> JobCreate:
    """The job that the options ask for. Only what was given is set.

    Raises:
        InvalidInput: an option has a value that can't be, or the file that it names holds something else.
    """
    given = {name: value for name, value in asdict(training).items() if value is not None}
    base_model = given.pop("base_model")
    method: dict[str, object] = {name: value for name, value in given.items() if name in Method.model_fields}
    if "method" in given:
        method["name"] = given.pop("method")
    options = {name: value for name, value in given.items() if name in MethodOptions.model_fields}
    method |= {"options": options} if options else {}
    hyperparameters = {name: value for name, value in given.items() if name in AskedHyperparameters.model_fields}
    body: dict[str, object] = {"character": character, "base_model": base_model}
    body |= {"method": method} if method else {}
    body |= {"hyperparameters": hyperparameters} if hyperparameters else {}
    body |= {name: value for name, value in given.items() if name == "deadline_seconds"}
    if training.evaluation is not None:
        body["evaluation"] = read_evaluation(training.evaluation)
    try:
        return JobCreate.model_validate(body)
    except ValidationError as error:
        raise InvalidInput(f"these options can't be used{_problems(error)}") from error


def _problems(error: ValidationError) -> str:
    items = [
        ErrorItem(pointer="/".join(["", *(str(part) for part in item["loc"])]), detail=item["msg"])
        for item in error.errors()
    ]
    return "".join(f"\n  {item.pointer}: {item.detail}" for item in items)


def _reason(job: Job) -> str:
    if job.error is None:
        return "no reason was given"
    return f"{job.error.message} ({job.error.code})"
