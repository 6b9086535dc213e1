"""Any history of evaluations and decisions keeps to what was decided."""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text

from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.release import AuditAction, AuditEntry, ReleaseStatus, Scope
from rolekeeper.errors import Conflict
from rolekeeper.jobs import audit, deletion, service
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.deletion import Deletion
from rolekeeper.jobs.keys import Caller
from rolekeeper.jobs.releases import ACTIONS
from tests.integration.jobs.conftest import OWNER
from tests.integration.jobs.moves import PASSED
from tests.integration.jobs.releasing import (
    APPROVED,
    FELL,
    FELL_MORE,
    PENDING,
    RELEASED,
    UNDECIDED,
    WITHHELD,
    again,
    decide,
    evaluate,
    is_open,
    release_of,
    train,
    version,
)

BY_OWNER = Deletion(Caller("key_1", OWNER, frozenset({Scope.WRITE_JOBS})))
DECISIONS = [AuditAction.ADAPTER_RELEASED, AuditAction.ADAPTER_WITHHELD]


class Model(NamedTuple):
    """What is known of the adapter: its state, what last spoke against it, and whether an approver withholds it."""

    status: ReleaseStatus
    seen: GateOutcome | None = None
    by_key: bool = False

    def after(self, outcome: GateOutcome, waits: bool) -> Model:
        """What is known after an evaluation."""
        if outcome.verdict == "blocked":
            is_seen = (self.status, self.seen) == (APPROVED, outcome)
            return Model(self.status if is_seen else WITHHELD, outcome, self.by_key and self.status == WITHHELD)
        is_open_question = self.status == WITHHELD and not self.by_key and self.seen == UNDECIDED
        if waits or not (self.status == PENDING or (is_open_question and outcome == PASSED)):
            return self
        return Model(RELEASED) if outcome == PASSED else Model(WITHHELD, outcome)


class ReleaseMachine(RuleBasedStateMachine):
    """Evaluations with any outcome, more evaluations, the same order again, and decisions, in any order."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        with self.database.transaction() as session:
            # The bytes are the same in every example, and so would be who waits to decide and what was decided.
            session.execute(text("delete from release"))
            session.execute(text("delete from artifact"))
        self.start = max((entry.id for entry in self._all()), default=0)
        self.jobs = [train(self.database)]
        self.waiting = list(self.jobs)
        self.trained = set(self.jobs)
        self.model = Model(PENDING)
        self.expected: list[AuditAction] = []
        self.version = version(self.database, self.jobs[0])

    def _all(self) -> list[AuditEntry]:
        with self.database.transaction() as session:
            return list(audit.list_entries(session, OWNER, None, None, 100).data)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), outcome=st.sampled_from([PASSED, UNDECIDED, FELL, FELL_MORE]))
    def evaluate(self, data: st.DataObject, outcome: GateOutcome) -> None:
        job_id = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(job_id)
        evaluate(self.database, job_id, outcome)
        self.model = self.model.after(outcome, bool(self.trained.intersection(self.waiting)))
        self.expected.append(ACTIONS[outcome.verdict])

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(job_id)
        with self.database.transaction() as session:
            service.request_cancel(session, OWNER, job_id)

    @precondition(lambda self: len(self.jobs) - len(self.waiting) > 1)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from([job for job in self.jobs if job not in self.waiting]))
        self.jobs.remove(job_id)
        with self.database.transaction() as session:
            deletion.delete_job(session, BY_OWNER, job_id)
        self.expected.append(AuditAction.DELETED)
        self.version = version(self.database, self.jobs[0])  # the first may be another job now

    @rule(data=st.data())
    def evaluate_again(self, data: st.DataObject) -> None:
        self._add(again(self.database, data.draw(st.sampled_from(self.jobs))))

    @rule()
    def order_the_same_again(self) -> None:
        job_id = train(self.database)
        self.trained.add(job_id)
        self._add(job_id)

    def _add(self, job_id: str) -> None:
        self.jobs.append(job_id)
        self.waiting.append(job_id)

    @rule(data=st.data(), status=st.sampled_from([APPROVED, WITHHELD]))
    def decide(self, data: st.DataObject, status: ReleaseStatus) -> None:
        job_id = data.draw(st.sampled_from(self.jobs))
        is_early = self.model.status == PENDING and job_id in self.waiting
        with pytest.raises(Conflict) if is_early else nullcontext():
            decide(self.database, job_id, status)
        if not is_early:
            self.model = self.model._replace(status=status, by_key=status == WITHHELD)
            self.expected.append(DECISIONS[status == WITHHELD])

    @invariant()
    def every_job_shows_the_state_and_keeps_to_it(self) -> None:
        for job_id in self.jobs:
            assert release_of(self.database, job_id).status == self.model.status
            assert is_open(self.database, job_id) == self.model.status.is_open

    @invariant()
    def every_decision_is_in_the_log_once(self) -> None:
        found = [entry.action for entry in reversed(self._all()) if entry.id > self.start]
        assert found == self.expected

    @invariant()
    def the_version_grows_with_every_decision(self) -> None:
        now = version(self.database, self.jobs[0])
        assert now >= self.version
        self.version = now


def test_any_history_keeps_to_the_decisions(database: Database) -> None:
    machine = type("Machine", (ReleaseMachine,), {"database": database})
    limits = settings(max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=limits)
