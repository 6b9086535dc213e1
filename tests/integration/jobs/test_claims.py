"""A stage is held by one worker at a time, whatever workers, messages and leases do."""

from __future__ import annotations

import multiprocessing
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import func, update

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.jobs import TERMINAL, Job, JobError, Progress, StageName, Status
from rolekeeper.errors import ClaimLost
from rolekeeper.jobs import claims, service, sweeps
from rolekeeper.jobs.claims import Claim, Outcome
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.rows import StageRow
from rolekeeper.jobs.states import PIPELINE, is_allowed
from tests.integration.jobs.conftest import OWNER, queue_job

LEASE = 60.0
KINDS = dict(zip(PIPELINE, (ArtifactKind.SCORES, ArtifactKind.ADAPTER, ArtifactKind.REPORT), strict=True))


def take(database: Database, job_id: str, stage: StageName = StageName.SCORE) -> Claim | None:
    with database.transaction() as session:
        return claims.claim(session, job_id, stage, "worker", LEASE)


def must_take(database: Database, job_id: str, stage: StageName = StageName.SCORE) -> Claim:
    held = take(database, job_id, stage)
    assert held is not None
    return held


def finish(database: Database, held: Claim) -> None:
    outcome = Outcome(KINDS[held.stage], Artifact(sha256="b" * 64, bytes=1), "done")
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


def test_a_second_claim_gets_nothing(database: Database) -> None:
    job_id = queue_job(database)
    assert must_take(database, job_id).attempt == 1
    assert take(database, job_id) is None


def test_a_stage_waits_for_the_one_before(database: Database) -> None:
    job_id = queue_job(database)
    assert take(database, job_id, StageName.TRAIN) is None
    finish(database, must_take(database, job_id))
    assert must_take(database, job_id, StageName.TRAIN).attempt == 1


def test_an_unknown_job_is_nothing_to_do(database: Database) -> None:
    assert take(database, "job_0") is None


def test_three_finished_stages_are_a_finished_job(database: Database) -> None:
    job_id = queue_job(database)
    for stage in PIPELINE:
        finish(database, must_take(database, job_id, stage))
    job = read(database, job_id)
    assert job.status == Status.SUCCEEDED
    assert job.adapter_sha256 == "b" * 64
    assert job.finished_at is not None


def test_a_zombie_changes_nothing(database: Database) -> None:
    job_id = queue_job(database)
    zombie = must_take(database, job_id)
    expire(database, job_id)
    with pytest.raises(ClaimLost), database.transaction() as session:
        claims.heartbeat(session, zombie, LEASE, None)
    with database.transaction() as session:
        sweeps.heal(session, job_id)
    make_due(database, job_id)
    successor = must_take(database, job_id)
    assert successor.attempt == 2
    with pytest.raises(ClaimLost):
        finish(database, zombie)
    finish(database, successor)
    with pytest.raises(ClaimLost):
        finish(database, successor)


def test_progress_is_seen_and_changes_the_version(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        before = service.job_version(session, OWNER, job_id)
        cancelled = claims.heartbeat(session, held, LEASE, Progress(done=1, total=2, unit="samples"))
    assert not cancelled
    job = read(database, job_id)
    assert job.stages[0].progress == Progress(done=1, total=2, unit="samples")
    with database.transaction() as session:
        assert service.job_version(session, OWNER, job_id) == before + 1


def test_a_final_failure_fails_the_job_and_says_why(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        claims.fail(session, held, JobError(code="diverged", message="the loss is NaN at step 3"))
    job = read(database, job_id)
    assert job.status == Status.FAILED
    assert job.error == JobError(code="diverged", message="the loss is NaN at step 3")
    assert [stage.status for stage in job.stages] == [Status.FAILED, Status.CANCELLED, Status.CANCELLED]


def test_a_stage_that_is_always_lost_is_given_up(database: Database) -> None:
    job_id = queue_job(database)
    for _ in range(claims.MAX_LOST):
        must_take(database, job_id)
        expire(database, job_id)
        with database.transaction() as session:
            assert sweeps.expired(session) == [job_id]
            sweeps.heal(session, job_id)
        make_due(database, job_id)
    job = read(database, job_id)
    assert job.status == Status.FAILED
    assert job.error is not None
    assert "given up after 5 interrupted attempts" in job.error.message


def test_cancelling_a_waiting_job_ends_it_at_once(database: Database) -> None:
    job_id = queue_job(database)
    with database.transaction() as session:
        assert service.request_cancel(session, OWNER, job_id).status == Status.CANCELLED
    assert take(database, job_id) is None


def test_cancelling_a_running_job_is_answered_by_its_worker(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        assert service.request_cancel(session, OWNER, job_id).status == Status.RUNNING
    with database.transaction() as session:
        assert claims.heartbeat(session, held, LEASE, None)
        claims.cancel(session, held)
    assert read(database, job_id).status == Status.CANCELLED


def test_a_stage_that_finishes_while_it_is_cancelled_ends_the_job(database: Database) -> None:
    job_id = queue_job(database)
    held = must_take(database, job_id)
    with database.transaction() as session:
        service.request_cancel(session, OWNER, job_id)
    finish(database, held)
    assert read(database, job_id).status == Status.CANCELLED


def test_a_lost_hint_is_due_again(database: Database) -> None:
    job_id = queue_job(database)
    with database.transaction() as session:
        assert sweeps.due_hints(session, PIPELINE, resend_seconds=60) == []
        assert [hint.job_id for hint in sweeps.due_hints(session, PIPELINE, resend_seconds=0)] == [job_id]
        assert sweeps.due_hints(session, (StageName.TRAIN,), resend_seconds=0) == []


def _claim_all(url: str, job_ids: list[str], answers: multiprocessing.Queue[list[str]]) -> None:
    database = Database(url)
    answers.put([job_id for job_id in job_ids if take(database, job_id) is not None])
    database.dispose()


def test_two_processes_never_claim_the_same_stage(database: Database, database_url: str) -> None:
    job_ids = [queue_job(database) for _ in range(30)]
    context = multiprocessing.get_context("spawn")
    answers: multiprocessing.Queue[list[str]] = context.Queue()
    workers = [context.Process(target=_claim_all, args=(database_url, job_ids, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    taken = [job_id for _ in workers for job_id in answers.get(timeout=60)]
    for worker in workers:
        worker.join(timeout=60)
    assert sorted(taken) == sorted(job_ids)


class JobMachine(RuleBasedStateMachine):
    """Any order of claims, heartbeats, endings, lost leases, sweeps and cancels, by live workers and zombies."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.job_id = queue_job(self.database)
        self.claims: list[Claim] = []
        self.seen = read(self.database, self.job_id)

    @rule(stage=st.sampled_from(PIPELINE))
    def claim(self, stage: StageName) -> None:
        make_due(self.database, self.job_id)
        held = take(self.database, self.job_id, stage)
        if held is not None:
            self.claims.append(held)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), ending=st.sampled_from(["succeed", "fail", "give_back", "cancel", "heartbeat"]))
    def act(self, data: st.DataObject, ending: str) -> None:
        held = data.draw(st.sampled_from(self.claims))
        before = read(self.database, self.job_id)
        stage = {stage.name: stage for stage in before.stages}[held.stage]
        is_live = stage.status == Status.RUNNING and stage.attempt == held.attempt
        try:
            self._end(held, ending)
        except ClaimLost:
            # Only a heartbeat may be refused to the present holder: its lease may have run out.
            assert not is_live or ending == "heartbeat"
            assert read(self.database, self.job_id) == before
        else:
            assert is_live

    def _end(self, held: Claim, ending: str) -> None:
        error = JobError(code="test", message="test")
        if ending == "succeed":
            finish(self.database, held)
            return
        with self.database.transaction() as session:
            if ending == "fail":
                claims.fail(session, held, error)
            elif ending == "give_back":
                claims.give_back(session, held, error)
            elif ending == "cancel":
                claims.cancel(session, held)
            else:
                claims.heartbeat(session, held, LEASE, None)

    @rule()
    def lose_the_worker(self) -> None:
        expire(self.database, self.job_id)

    @rule()
    def sweep(self) -> None:
        with self.database.transaction() as session:
            for job_id in sweeps.expired(session):
                sweeps.heal(session, job_id)

    @precondition(lambda self: self.seen.status not in TERMINAL)
    @rule()
    def request_cancel(self) -> None:
        with self.database.transaction() as session:
            service.request_cancel(session, OWNER, self.job_id)

    @invariant()
    def only_allowed_moves(self) -> None:
        job = read(self.database, self.job_id)
        for before, after in zip(self.seen.stages, job.stages, strict=True):
            # A rule may make two moves: a cancelled claim goes through running.
            hops = {before.status} | {mid for mid in Status if is_allowed(before.status, mid)}
            assert after.status in hops | {end for mid in hops for end in Status if is_allowed(mid, end)}
            assert after.attempt >= before.attempt
        if self.seen.status in TERMINAL:
            assert job.status == self.seen.status
        if job.status in TERMINAL:
            assert all(stage.status in TERMINAL for stage in job.stages)
        self.seen = job

    @invariant()
    def one_stage_at_a_time(self) -> None:
        assert sum(stage.status in {Status.RUNNING, Status.QUEUED} for stage in self.seen.stages) <= 1

    @invariant()
    def an_adapter_exists_if_and_only_if_training_succeeded(self) -> None:
        trained = self.seen.stages[1].status == Status.SUCCEEDED
        assert (self.seen.adapter_sha256 is not None) == trained


def test_any_history_keeps_the_rules(database: Database) -> None:
    machine = type("Machine", (JobMachine,), {"database": database})
    case = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(
        max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case("runTest").runTest()
