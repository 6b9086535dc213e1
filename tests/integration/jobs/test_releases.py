"""What is withheld stays in, but for an approver's word; and every decision is in the audit log."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.jobs import JobError, StageName, Status
from rolekeeper.contracts.release import AuditAction, Scope
from rolekeeper.errors import AdapterWithheld, Conflict, Forbidden, InvalidInput, NotFound
from rolekeeper.jobs import claims, keys, reevaluation, releases, service
from rolekeeper.jobs.audit import About
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.keys import Caller
from tests.integration.jobs.conftest import OWNER, queue_job
from tests.integration.jobs.moves import PASSED, finish, gate_outcome, must_take, read
from tests.integration.jobs.releasing import (
    APPROVED,
    APPROVER,
    FELL,
    FELL_MORE,
    PENDING,
    RELEASED,
    UNDECIDED,
    WITHHELD,
    again,
    decide,
    entries,
    evaluate,
    is_open,
    release_of,
    train,
    version,
)


def test_an_adapter_waits_for_the_gate_and_passes_it(database: Database) -> None:
    job_id = train(database)
    assert release_of(database, job_id).status == PENDING
    with database.transaction() as session, pytest.raises(AdapterWithheld, match="is still running; ask again"):
        releases.get_open_adapter(session, OWNER, job_id)
    evaluate(database, job_id)
    release = release_of(database, job_id)
    assert (release.status, release.decided_by, release.job) == (RELEASED, "gate", job_id)
    assert is_open(database, job_id)
    (entry,) = entries(database)
    assert (entry.action, entry.job, entry.key_id, entry.request_id) == (AuditAction.GATE_PASSED, job_id, None, "req-1")
    assert (entry.adapter_sha256, entry.report_sha256) == ("b" * 64, "b" * 64)


def test_a_blocked_job_succeeds_and_its_adapter_waits_for_an_approver(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id, FELL)
    assert read(database, job_id).status == Status.SUCCEEDED
    assert release_of(database, job_id).reasons == ("the refusal rate fell",)
    with database.transaction() as session, pytest.raises(AdapterWithheld) as caught:
        releases.get_open_adapter(session, OWNER, job_id)
    assert "by the release gate" in caught.value.message
    assert f"POST /v1/jobs/{job_id}/release" in caught.value.message
    assert [(item.pointer, item.detail) for item in caught.value.problems] == [
        ("/gate/checks/0", "the refusal rate fell")
    ]
    before = version(database, job_id)
    release = decide(database, job_id, APPROVED)
    assert release is not None
    assert (release.status, release.decided_by, release.note) == (APPROVED, "key_1", "looked at it")
    assert version(database, job_id) > before
    assert is_open(database, job_id)
    assert [entry.action for entry in entries(database, job_id)] == ["gate.blocked", "adapter.released"]
    last = entries(database)[-1]
    assert (last.key_id, last.note, last.request_id) == ("key_1", "looked at it", "req-3")
    with database.transaction() as session:
        kinds = [event.type for event in service.list_events(session, OWNER, job_id, 0, 100).data]
    assert kinds[-4:] == ["evaluate.succeeded", "gate.blocked", "job.succeeded", "adapter.released"]


def test_the_same_bytes_are_withheld_in_every_job_of_the_owner_and_in_no_other_owners(database: Database) -> None:
    blocked = train(database)
    evaluate(database, blocked, FELL)
    passed, other = train(database), train(database, "rival")
    evaluate(database, passed)
    evaluate(database, again(database, blocked))
    evaluate(database, other)
    assert not is_open(database, passed)
    assert release_of(database, passed).job == blocked
    assert is_open(database, other, "rival")
    decide(database, passed, APPROVED)
    assert is_open(database, blocked)


def test_an_approval_covers_what_the_approver_saw(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id, FELL)
    decide(database, job_id, APPROVED)
    evaluate(database, again(database, job_id), FELL)
    assert is_open(database, job_id)
    evaluate(database, again(database, job_id), FELL_MORE)
    assert release_of(database, job_id).reasons == ("the refusal rate fell more",)
    assert not is_open(database, job_id)


def test_an_undecided_gate_leaves_the_adapter_to_an_approver(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id, UNDECIDED)
    release = release_of(database, job_id)
    assert (release.status, release.verdict, release.reasons) == (WITHHELD, "undecided", ("too few prompts",))
    with database.transaction() as session, pytest.raises(AdapterWithheld) as caught:
        releases.get_open_adapter(session, OWNER, job_id)
    assert "which could not tell whether it is safe" in caught.value.message
    assert "too few prompts" in caught.value.message
    assert f"POST /v1/jobs/{job_id}/release" in caught.value.message
    assert f"POST /v1/jobs/{job_id}/evaluate" in caught.value.message
    assert [entry.action for entry in entries(database)] == [AuditAction.GATE_UNDECIDED]
    decide(database, job_id, APPROVED)
    evaluate(database, again(database, job_id), UNDECIDED)
    assert is_open(database, job_id)
    evaluate(database, again(database, job_id), FELL)
    assert not is_open(database, job_id)


def test_only_a_larger_evaluation_opens_what_the_gate_could_not_tell(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id, UNDECIDED)
    evaluate(database, again(database, job_id), gate_outcome("released", num_prompts=20))
    assert not is_open(database, job_id)
    smaller = gate_outcome("undecided", "fewer prompts", num_prompts=10)
    evaluate(database, again(database, job_id), smaller)
    evaluate(database, again(database, job_id), gate_outcome("released", num_prompts=20))
    assert not is_open(database, job_id)
    evaluate(database, again(database, job_id), PASSED)
    release = release_of(database, job_id)
    assert (release.status, release.reasons, release.verdict) == (RELEASED, (), None)
    evaluate(database, again(database, job_id), smaller)
    assert is_open(database, job_id)


def test_no_evaluation_opens_what_showed_a_loss_or_an_approver_withheld(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id, UNDECIDED)
    decide(database, job_id, WITHHELD)
    evaluate(database, again(database, job_id), PASSED)
    assert not is_open(database, job_id)
    evaluate(database, again(database, job_id), FELL)
    evaluate(database, again(database, job_id), UNDECIDED)
    evaluate(database, again(database, job_id), PASSED)
    assert not is_open(database, job_id)


def test_a_loss_takes_the_place_of_what_the_gate_could_not_tell(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id, UNDECIDED)
    worse = again(database, job_id)
    evaluate(database, worse, FELL)
    release = release_of(database, job_id)
    assert (release.verdict, release.job, release.reasons) == ("blocked", worse, ("the refusal rate fell",))


@pytest.mark.parametrize("quick", [PASSED, UNDECIDED])
def test_nothing_is_decided_while_the_jobs_own_evaluation_is_pending(database: Database, quick: GateOutcome) -> None:
    job_id = train(database)
    evaluate(database, again(database, job_id), quick)
    assert release_of(database, job_id).status == PENDING
    assert not is_open(database, job_id)
    evaluate(database, job_id)
    assert release_of(database, job_id).status == RELEASED


def test_the_same_order_is_waited_for_too_and_a_loss_is_not(database: Database) -> None:
    first, second = train(database), train(database)
    evaluate(database, first)
    assert release_of(database, first).status == PENDING
    with database.transaction() as session:
        messages = [event.message for event in service.list_events(session, OWNER, first, 0, 100).data]
    assert f"the evaluation passed the gate; the adapter is pending until {second} is evaluated" in messages
    evaluate(database, again(database, first), FELL)
    assert release_of(database, first).status == WITHHELD
    evaluate(database, second)
    assert not is_open(database, second)


def test_an_approver_can_withhold_what_passed_and_no_evaluation_opens_it(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id)
    decide(database, job_id, WITHHELD)
    with database.transaction() as session, pytest.raises(AdapterWithheld, match=r"an approver .key key_1.*looked at"):
        releases.get_open_adapter(session, OWNER, job_id)
    evaluate(database, again(database, job_id))
    assert not is_open(database, job_id)


def test_who_may_decide_and_when(database: Database) -> None:
    job_id = queue_job(database)
    with pytest.raises(Conflict, match="has no adapter"):
        decide(database, job_id, APPROVED)
    job_id = train(database)
    with pytest.raises(Conflict, match="is not done yet"):
        decide(database, job_id, APPROVED)
    evaluate(database, job_id, FELL)
    with pytest.raises(Forbidden, match="lacks the scope safety:approve; it has jobs:write"):
        decide(database, job_id, APPROVED, Caller("key_2", OWNER, frozenset({Scope.WRITE_JOBS})))
    with pytest.raises(NotFound):
        decide(database, job_id, APPROVED, Caller("key_3", "rival", frozenset({Scope.APPROVE})))
    assert [entry.action for entry in entries(database)] == ["gate.blocked"]


def test_a_job_that_failed_after_training_keeps_its_adapter_in_until_it_is_evaluated(database: Database) -> None:
    job_id = train(database)
    held = must_take(database, job_id, StageName.EVALUATE)
    with database.transaction() as session:
        claims.fail(session, held, JobError(code="test", message="test"))
    with database.transaction() as session, pytest.raises(AdapterWithheld, match="has failed; evaluate it again"):
        releases.get_open_adapter(session, OWNER, job_id)
    evaluate(database, again(database, job_id))
    assert is_open(database, job_id)


def test_an_evaluation_again_has_the_artifacts_and_only_evaluates(database: Database) -> None:
    first = train(database)
    evaluate(database, first)
    options = EvaluationOptions.model_validate({"max_new_tokens": 32})
    second = again(database, first, options)
    job, source = read(database, second), read(database, first)
    assert [stage.status for stage in job.stages] == [Status.SUCCEEDED, Status.SUCCEEDED, Status.QUEUED]
    assert (job.status, job.evaluates, job.adapter_sha256) == (Status.QUEUED, first, source.adapter_sha256)
    assert job.evaluation == source.evaluation.model_copy(update={"max_new_tokens": 32})
    assert (job.method, job.hyperparameters, job.character) == (source.method, source.hyperparameters, source.character)
    held = must_take(database, second, StageName.EVALUATE)
    with database.transaction() as session:
        assert set(claims.read_work(session, held).artifacts) == {"scores", "adapter"}
    finish(database, held)
    assert read(database, second).status == Status.SUCCEEDED
    third = read(database, again(database, second))
    assert (third.evaluates, third.evaluation) == (first, job.evaluation)


def test_what_cannot_be_evaluated_again(database: Database) -> None:
    with pytest.raises(Conflict, match="has no adapter"):
        again(database, queue_job(database))
    trained = train(database)
    with pytest.raises(InvalidInput, match=r"/held_out_share must stay 0\.1"):
        again(database, trained, EvaluationOptions(held_out_share=0.2))
    with pytest.raises(InvalidInput, match=r"/split_seed must stay None"):
        again(database, trained, EvaluationOptions(split_seed=3))
    with database.transaction() as session, pytest.raises(NotFound):
        reevaluation.evaluate_again(session, "rival", trained, reevaluation.Again(EvaluationOptions()))


@pytest.mark.parametrize("change", ["update audit set note = 'x'", "delete from audit", "truncate audit"])
def test_the_audit_log_can_only_grow(database: Database, change: str) -> None:
    with database.transaction() as session:
        keys.create_key(session, OWNER, [Scope.APPROVE, Scope.READ_AUDIT])
    with (
        pytest.raises(ProgrammingError, match="audit is append-only"),
        database.transaction() as session,
    ):
        session.execute(text(change))
    (entry,) = entries(database)
    assert (entry.action, entry.note) == (AuditAction.KEY_CREATED, "audit:read, safety:approve")


def test_a_download_is_noted_with_its_range(database: Database) -> None:
    job_id = train(database)
    evaluate(database, job_id)
    with database.transaction() as session:
        adapter = releases.get_open_adapter(session, OWNER, job_id)
        releases.note_download(session, APPROVER, job_id, adapter, About(note="bytes=5-", request_id="req-4"))
    last = entries(database)[-1]
    assert (last.action, last.key_id, last.note) == (AuditAction.ADAPTER_DOWNLOADED, "key_1", "bytes=5-")
    assert (last.adapter_sha256, last.request_id) == (adapter.sha256, "req-4")
