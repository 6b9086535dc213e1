"""The commands of approvers, and another evaluation of what they decided on."""

from __future__ import annotations

from pathlib import Path

import typer
from pydantic import BaseModel

from rolekeeper.client.comparison import differences
from rolekeeper.client.progress import follow
from rolekeeper.client.session import Exit, Session
from rolekeeper.client.tables import audit_table
from rolekeeper.contracts.jobs import Job, Status
from rolekeeper.errors import StageFailed
from rolekeeper.report.reading import read_report

MAX_SHOWN = 20


class Compared(BaseModel):
    """What `evaluate --json` prints."""

    job: str
    report: str
    same: bool
    differences: list[str]


def decide(session: Session, job_id: str, note: str, is_released: bool) -> None:
    """Release a job's adapter, or withhold it."""
    job = session.client.release(job_id, note) if is_released else session.client.withhold(job_id, note)
    if session.json:
        session.show_json(job)
    else:
        session.say(f"{job.id}  adapter {job.release.status if job.release else 'unknown'}")


def show_audit(session: Session, job_id: str | None, limit: int) -> None:
    """The newest entries of the audit log."""
    session.show(session.client.audit(job_id, limit), audit_table)


def evaluate_again(session: Session, report_path: Path, out: Path | None) -> None:
    """Make a report again from the job, options and adapter that it names, and say what differs.

    Raises:
        Conflict: the file holds no report.
        StageFailed: the evaluation did not succeed.
    """
    before = read_report(report_path.read_bytes())
    job = session.client.evaluate(before.job, before.evaluation)
    session.stderr.print(f"{job.id} evaluates the adapter of {before.job} again", highlight=False, markup=False)
    job = follow(session.client, job.id, session.stderr)
    if job.status != Status.SUCCEEDED:
        raise StageFailed(f"{job.id} {job.status}: {job.error.message if job.error else 'no reason was given'}")
    after = session.client.report(job.id)
    target = out or report_path.with_name(f"{job.id}.report.json")
    target.write_text(after.model_dump_json(indent=1) + "\n", encoding="utf-8")
    found = differences(before, after)
    if session.json:
        session.show_json(Compared(job=job.id, report=str(target), same=not found, differences=found))
    else:
        _say(session, found, len(after.answers), target)
    if found:
        raise typer.Exit(Exit.FAILED)


def is_withheld(job: Job) -> bool:
    """Whether the job has an adapter that is not given out."""
    return job.release is not None and not job.release.status.is_open


def withheld_lines(job: Job) -> list[str]:
    """Say of a withheld adapter what speaks against it and what can be done."""
    reasons = () if job.release is None else job.release.reasons
    is_undecided = job.release is not None and (job.release.decided_by, job.release.verdict) == ("gate", "undecided")
    why = ": the release gate could not tell whether it is safe" if is_undecided else ""
    return [
        f"{job.id} succeeded, but its adapter is withheld{why}",
        *(f"  {reason}" for reason in reasons),
        f"next: rolekeeper report {job.id}; an approver can let it out: rolekeeper release {job.id} --note ...",
    ]


def _say(session: Session, found: list[str], num_answers: int, target: Path) -> None:
    if not found:
        session.say(f"the same: {num_answers} pairs of answers and all their verdicts; {target}")
        return
    session.say(f"{len(found)} differences; {target}")
    for line in found[:MAX_SHOWN]:
        session.say(f"  {line}")
    if len(found) > MAX_SHOWN:
        session.say(f"  and {len(found) - MAX_SHOWN} more")
