"""What gates, approvers and owners do to an adapter. All jobs here train the same bytes."""

from __future__ import annotations

from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.jobs import StageName
from rolekeeper.contracts.release import AuditEntry, Release, ReleaseStatus, Scope
from rolekeeper.errors import AdapterWithheld
from rolekeeper.jobs import audit, reevaluation, releases, versions
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.keys import Caller
from tests.integration.jobs.conftest import OWNER, queue_job
from tests.integration.jobs.moves import PASSED, finish, gate_outcome, must_take, read

APPROVER = Caller("key_1", OWNER, frozenset({Scope.APPROVE}))
PENDING, RELEASED, WITHHELD, APPROVED = ReleaseStatus
FELL, FELL_MORE = gate_outcome("blocked"), gate_outcome("blocked", "the refusal rate fell more")
UNDECIDED = gate_outcome("undecided", "too few prompts", num_prompts=20)


def train(database: Database, owner: str = OWNER) -> str:
    """A job whose adapter is there. All such jobs have the same bytes."""
    job_id = queue_job(database, owner)
    for stage in (StageName.SCORE, StageName.TRAIN):
        finish(database, must_take(database, job_id, stage))
    return job_id


def evaluate(database: Database, job_id: str, gate: GateOutcome = PASSED) -> None:
    finish(database, must_take(database, job_id, StageName.EVALUATE), gate)


def again(database: Database, job_id: str, options: EvaluationOptions | None = None) -> str:
    with database.transaction() as session:
        wish = reevaluation.Again(options or EvaluationOptions(), request_id="req-2")
        return reevaluation.evaluate_again(session, OWNER, job_id, wish).id


def decide(database: Database, job_id: str, status: ReleaseStatus, caller: Caller = APPROVER) -> Release | None:
    with database.transaction() as session:
        return releases.decide_by_key(session, caller, job_id, status, "looked at it", "req-3").release


def release_of(database: Database, job_id: str) -> Release:
    release = read(database, job_id).release
    assert release is not None
    return release


def is_open(database: Database, job_id: str, owner: str = OWNER) -> bool:
    try:
        with database.transaction() as session:
            releases.get_open_adapter(session, owner, job_id)
    except AdapterWithheld:
        return False
    return True


def entries(database: Database, job_id: str | None = None) -> list[AuditEntry]:
    """Oldest first."""
    with database.transaction() as session:
        return list(reversed(audit.list_entries(session, OWNER, job_id, None, 100).data))


def version(database: Database, job_id: str) -> int:
    with database.transaction() as session:
        return versions.job_version(session, OWNER, job_id)
