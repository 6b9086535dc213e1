"""What workers, sweepers and clocks do to a job."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, update

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.gate import GateCheck, GateOutcome, GateVerdict
from rolekeeper.contracts.jobs import Job, Progress, StageName, Status
from rolekeeper.contracts.suites import Part
from rolekeeper.jobs import claims, service, sweeps
from rolekeeper.jobs.claims import Claim, Outcome, Wish
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.rows import JobRow, StageRow
from rolekeeper.jobs.states import PIPELINE
from tests.integration.jobs.conftest import OWNER

LEASE = 60.0
KINDS = dict(zip(PIPELINE, (ArtifactKind.SCORES, ArtifactKind.ADAPTER, ArtifactKind.REPORT), strict=True))


def take(database: Database, job_id: str, stage: StageName = StageName.SCORE) -> Claim | None:
    with database.transaction() as session:
        return claims.claim(session, job_id, stage, "worker", LEASE)


def must_take(database: Database, job_id: str, stage: StageName = StageName.SCORE) -> Claim:
    held = take(database, job_id, stage)
    assert held is not None
    return held


def gate_outcome(verdict: GateVerdict, sentence: str = "the refusal rate fell", num_prompts: int = 40) -> GateOutcome:
    """What a gate found in one check."""
    check = GateCheck(
        rule="loss",
        suite="starter",
        part=Part.HARMFUL,
        verdict=verdict,
        sentence=sentence,
        threshold=0.05,
        num_prompts=num_prompts,
        difference=-0.1,
    )
    return GateOutcome(verdict=verdict, checks=(check,))


PASSED = gate_outcome("released")


def finish(database: Database, held: Claim, gate: GateOutcome = PASSED) -> None:
    """Finish a stage; the evaluate stage with what the gate found."""
    found = gate if held.stage is StageName.EVALUATE else None
    outcome = Outcome(KINDS[held.stage], Artifact(sha256="b" * 64, bytes=1), "done", gate=found)
    with database.transaction() as session:
        claims.succeed(session, held, outcome)


def read(database: Database, job_id: str) -> Job:
    with database.transaction() as session:
        return service.get_job(session, OWNER, job_id)


def expire(database: Database, job_id: str) -> None:
    """Let the lease of the running stage run out."""
    with database.transaction() as session:
        session.execute(
            update(StageRow)
            .where(StageRow.job_id == job_id, StageRow.status == Status.RUNNING)
            .values(lease_expires_at=func.clock_timestamp() - timedelta(seconds=1))
        )


def make_due(database: Database, job_id: str) -> None:
    """End the pause before the next attempt."""
    with database.transaction() as session:
        session.execute(update(StageRow).where(StageRow.job_id == job_id).values(not_before=func.clock_timestamp()))


def sweep(database: Database) -> None:
    """Look for lost workers and for jobs past their deadline."""
    with database.transaction() as session:
        for job_id in sweeps.expired(session):
            sweeps.heal(session, job_id)
    with database.transaction() as session:
        for job_id in sweeps.overdue(session):
            sweeps.end_overdue(session, job_id)


def beat(database: Database, held: Claim, done: int | None = None) -> Wish:
    """A heartbeat, with progress if there is some."""
    progress = None if done is None else Progress(done=done, total=100, unit="steps")
    with database.transaction() as session:
        return claims.heartbeat(session, held, LEASE, progress)


def pass_deadline(database: Database, job_id: str) -> None:
    """Let the job's deadline be a second ago."""
    with database.transaction() as session:
        late = func.clock_timestamp() - timedelta(seconds=1)
        session.execute(update(JobRow).where(JobRow.id == job_id).values(deadline_at=late))
