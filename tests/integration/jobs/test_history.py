"""Any history of a job keeps the rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy.orm import Session

from rolekeeper.contracts.jobs import TERMINAL, Job, JobError, StageName, Status
from rolekeeper.errors import ClaimLost, Conflict, WorkerDraining
from rolekeeper.jobs import claims, pausing, service
from rolekeeper.jobs.claims import Claim
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.states import JOB_ALLOWED, PIPELINE, is_allowed
from tests.integration.jobs.conftest import OWNER, queue_job
from tests.integration.jobs.moves import LEASE, expire, finish, make_due, pass_deadline, read, sweep, take


class JobMachine(RuleBasedStateMachine):
    """Any order of claims, endings, lost leases, sweeps, deadlines, pauses and cancels, by live workers and zombies."""

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
            assert not self.seen.pause_requested
            self.claims.append(held)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), ending=st.sampled_from(["succeed", "fail", "give_back", "hand_back", "cancel", "heartbeat"]))
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
            elif ending == "hand_back":
                claims.hand_back(session, held, WorkerDraining("test"))
            elif ending == "cancel":
                claims.cancel(session, held)
            else:
                claims.heartbeat(session, held, LEASE, None)

    @rule()
    def lose_the_worker(self) -> None:
        expire(self.database, self.job_id)

    @rule()
    def sweep(self) -> None:
        sweep(self.database)

    @rule()
    def pass_deadline(self) -> None:
        pass_deadline(self.database, self.job_id)

    @rule(wish=st.sampled_from([pausing.request_pause, pausing.request_resume]))
    def pause_or_resume(self, wish: Callable[[Session, str, str], Job]) -> None:
        before = read(self.database, self.job_id)
        is_refused = before.status in TERMINAL or (before.cancel_requested and wish is pausing.request_pause)
        with pytest.raises(Conflict) if is_refused else nullcontext(), self.database.transaction() as session:
            asked = wish(session, OWNER, self.job_id)
            assert asked.pause_requested == (wish is pausing.request_pause)

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
        # A rule may make two moves here too: the job of a claimed stage that fails was queued before.
        steps = {self.seen.status} | JOB_ALLOWED[self.seen.status]
        assert job.status in steps | {end for mid in steps for end in JOB_ALLOWED[mid]}
        if self.seen.status in TERMINAL:
            assert job.status == self.seen.status
        if job.status in TERMINAL:
            assert all(stage.status in TERMINAL for stage in job.stages)
        self.seen = job

    @invariant()
    def flags_are_heeded(self) -> None:
        waiting = [stage for stage in self.seen.stages if stage.status == Status.QUEUED]
        held = [stage for stage in self.seen.stages if stage.status == Status.RUNNING]
        assert not (self.seen.cancel_requested and waiting)
        is_going = self.seen.status not in TERMINAL
        assert (self.seen.status == Status.PAUSED) == (is_going and self.seen.pause_requested and not held)

    @invariant()
    def one_stage_at_a_time(self) -> None:
        assert sum(stage.status in {Status.RUNNING, Status.QUEUED} for stage in self.seen.stages) <= 1

    @invariant()
    def an_adapter_exists_if_and_only_if_training_succeeded(self) -> None:
        trained = self.seen.stages[1].status == Status.SUCCEEDED
        assert (self.seen.adapter_sha256 is not None) == trained


def test_any_history_keeps_the_rules(database: Database) -> None:
    machine = type("Machine", (JobMachine,), {"database": database})
    limits = settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=limits)
