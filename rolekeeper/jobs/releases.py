"""Whether an adapter is given out: what the gate decides, and what an approver decides over it.

    pending   -> released   an evaluation passed the gate
    pending   -> withheld   an evaluation showed a loss, or left the gate undecided
    withheld  -> released   the gate was undecided, and an evaluation that asks more passed it
    released  -> withheld   a later evaluation showed a loss
    approved  -> withheld   a later evaluation showed a loss that the approver had not seen
    any       -> approved   an approver released it
    any       -> withheld   an approver withheld it

Only an approver opens what a loss or another approver withholds. Nothing but a loss is decided while a job that trained
the adapter has its own evaluation before it, and an evaluation that leaves the gate undecided closes nothing. The state
is that of the adapter's bytes, for one owner, so that neither a second evaluation nor the same order again is a way
around a decision.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.gate import GateOutcome, GateVerdict
from rolekeeper.contracts.jobs import TERMINAL, Job, Status
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.release import AuditAction, ReleaseStatus, Scope
from rolekeeper.errors import AdapterWithheld, Conflict
from rolekeeper.jobs import audit, repository
from rolekeeper.jobs.audit import About
from rolekeeper.jobs.keys import Caller
from rolekeeper.jobs.rows import ArtifactRow, JobRow, ReleaseRow
from rolekeeper.jobs.service import get_artifact

GATE = "gate"
ACTIONS: dict[GateVerdict, AuditAction] = {
    "released": AuditAction.GATE_PASSED,
    "blocked": AuditAction.GATE_BLOCKED,
    "undecided": AuditAction.GATE_UNDECIDED,
}
FOUND: dict[GateVerdict, str] = {
    "released": "the evaluation passed the gate",
    "blocked": "the evaluation did not pass the gate, which found a loss",
    "undecided": "the evaluation leaves the gate undecided",
}


def decide_by_gate(session: Session, job: JobRow, report: Artifact, outcome: GateOutcome) -> None:
    """Note what the gate found in this job's report, and release or withhold its adapter. The job's row is locked."""
    adapter = repository.find_artifact(session, job.id, ArtifactKind.ADAPTER)
    if adapter is None:
        raise Conflict(f"job {job.id} has no adapter to release")
    release = _lock(session, job.owner, adapter)
    waits_for = _own_evaluation(session, job, adapter)
    if outcome.verdict == "blocked":
        _block(release, job, outcome)
    elif waits_for is None and _may_settle(release, outcome):
        is_passed = outcome.verdict == "released"
        _set(release, job, ReleaseStatus.RELEASED if is_passed else ReleaseStatus.WITHHELD, GATE)
        release.outcome = None if is_passed else outcome.model_dump(mode="json")
    release.version += 1
    _tell_of_gate(session, job, outcome, _state(release, waits_for))
    note = " ".join(check.sentence for check in outcome.reasons) or None
    about = About(None, job.id, adapter.sha256, report.sha256, note, job.request_id)
    audit.append(session, job.owner, ACTIONS[outcome.verdict], about)


def _block(release: ReleaseRow, job: JobRow, outcome: GateOutcome) -> None:
    before = _outcome(release)
    was_seen = release.status == ReleaseStatus.APPROVED and before == outcome
    was_blocked = release.status == ReleaseStatus.WITHHELD and (before is None or before.verdict == "blocked")
    if not (was_seen or was_blocked or _is_withheld_by_key(release)):
        _set(release, job, ReleaseStatus.WITHHELD, GATE)
    release.outcome = outcome.model_dump(mode="json")


def _may_settle(release: ReleaseRow, outcome: GateOutcome) -> bool:
    """Whether what shows no loss decides: nothing was decided, or the gate was undecided on a smaller evaluation."""
    if release.status == ReleaseStatus.PENDING:
        return True
    before = _outcome(release)
    if release.status != ReleaseStatus.WITHHELD or release.decided_by != GATE or before is None:
        return False
    return before.verdict == "undecided" and outcome.asks_more_than(before)


def _own_evaluation(session: Session, job: JobRow, adapter: Artifact) -> str | None:
    """Another job that trained the same bytes and is not done with its own evaluation. The release's row is locked."""
    others = (
        select(JobRow.id)
        .join(ArtifactRow, ArtifactRow.job_id == JobRow.id)
        .where(JobRow.owner == job.owner, JobRow.id != job.id, JobRow.status.not_in(TERMINAL))
        .where(ArtifactRow.kind == ArtifactKind.ADAPTER, ArtifactRow.sha256 == adapter.sha256)
        .where(JobRow.options["evaluates"].astext.is_(None))
    )
    return session.scalars(others.order_by(JobRow.number).limit(1)).first()


def decide_by_key(
    session: Session, caller: Caller, job_id: str, status: ReleaseStatus, note: str, request_id: str | None
) -> Job:
    """Approve a job's adapter, or withhold it. Every call is kept in the audit log, also one that changes nothing.

    Raises:
        Forbidden: the key lacks `safety:approve`.
        NotFound: there is no such job for the key's owner.
        Conflict: there is no adapter yet, or its evaluation still goes on.
    """
    caller.require(Scope.APPROVE)
    adapter = get_artifact(session, caller.owner, job_id, ArtifactKind.ADAPTER)
    job = repository.lock_job(session, job_id)
    release = _lock(session, job.owner, adapter)
    if release.status == ReleaseStatus.PENDING and Status(job.status) not in TERMINAL:
        raise Conflict(f"the evaluation of job {job_id} is not done yet; decide when there is a report")
    _set(release, job, status, caller.key_id, note)
    release.version += 1
    is_open = status.is_open
    action = AuditAction.ADAPTER_RELEASED if is_open else AuditAction.ADAPTER_WITHHELD
    message = f"an approver {'released' if is_open else 'withheld'} the adapter: {note}"
    repository.add_event(session, job_id, action, message, key_id=caller.key_id)
    report = repository.find_artifact(session, job_id, ArtifactKind.REPORT)
    about = About(caller.key_id, job_id, adapter.sha256, report.sha256 if report else None, note, request_id)
    audit.append(session, job.owner, action, about)
    session.flush()
    session.refresh(release)
    return repository.to_job(session, job)


def get_open_adapter(session: Session, owner: str, job_id: str) -> Artifact:
    """The adapter, if it is given out.

    Raises:
        NotFound: there is no such job.
        Conflict: there is no adapter yet.
        AdapterWithheld: the gate or an approver holds it back, or the gate has not seen it.
    """
    adapter = get_artifact(session, owner, job_id, ArtifactKind.ADAPTER)
    release = session.get(ReleaseRow, (owner, adapter.sha256))
    if release is None or release.status == ReleaseStatus.PENDING:
        raise AdapterWithheld(_pending_detail(session.get_one(JobRow, job_id)))
    if not ReleaseStatus(release.status).is_open:
        reasons = _reasons(release)
        raise AdapterWithheld(_withheld_detail(release, reasons), problems=reasons)
    return adapter


def note_download(session: Session, caller: Caller, job_id: str, adapter: Artifact, asked: About) -> None:
    """Keep in the audit log that the adapter left. `asked` has the range, if one was asked for, and the request."""
    about = asked._replace(key_id=caller.key_id, job_id=job_id, adapter_sha256=adapter.sha256)
    audit.append(session, caller.owner, AuditAction.ADAPTER_DOWNLOADED, about)


def _lock(session: Session, owner: str, adapter: Artifact) -> ReleaseRow:
    """The locked row of the adapter, made if there is none. Whoever locks it holds the lock of one job, and no more."""
    values = {"owner": owner, "adapter_sha256": adapter.sha256}
    new = insert(ReleaseRow).values(**values, status=ReleaseStatus.PENDING)
    session.execute(new.on_conflict_do_nothing())
    return session.get_one(ReleaseRow, (owner, adapter.sha256), with_for_update=True, populate_existing=True)


def _set(release: ReleaseRow, job: JobRow, status: ReleaseStatus, by: str, note: str | None = None) -> None:
    release.status, release.decided_by, release.job_id, release.note = status, by, job.id, note
    release.decided_at = func.clock_timestamp()


def _tell_of_gate(session: Session, job: JobRow, outcome: GateOutcome, state: str) -> None:
    sentences = [check.sentence for check in outcome.reasons]
    message = f"{FOUND[outcome.verdict]}; the adapter is {state}"
    repository.add_event(session, job.id, ACTIONS[outcome.verdict], message, reasons=sentences)


def _state(release: ReleaseRow, waits_for: str | None) -> str:
    is_pending = release.status == ReleaseStatus.PENDING
    return f"{release.status} until {waits_for} is evaluated" if is_pending and waits_for else str(release.status)


def _outcome(release: ReleaseRow) -> GateOutcome | None:
    return None if release.outcome is None else GateOutcome.model_validate(release.outcome)


def _is_withheld_by_key(release: ReleaseRow) -> bool:
    return release.status == ReleaseStatus.WITHHELD and release.decided_by != GATE


def _reasons(release: ReleaseRow) -> list[ErrorItem]:
    """What the gate found that speaks against the adapter, each with its place in the safety report."""
    outcome = _outcome(release)
    if outcome is None:
        return []
    places = {id(check): number for number, check in enumerate(outcome.checks)}
    return [ErrorItem(pointer=f"/gate/checks/{places[id(check)]}", detail=check.sentence) for check in outcome.reasons]


def _pending_detail(job: JobRow) -> str:
    why = f"the adapter of job {job.id} is withheld: the release gate has not decided on it"
    if Status(job.status) in TERMINAL:
        return f"{why}, and the job has {job.status}; evaluate it again (POST /v1/jobs/{job.id}/evaluate)"
    return f"{why}, and the job is still {job.status}; ask again when it is done"


def _withheld_detail(release: ReleaseRow, reasons: list[ErrorItem]) -> str:
    outcome, by_gate = _outcome(release), release.decided_by == GATE
    is_undecided = by_gate and outcome is not None and outcome.verdict == "undecided"
    first = f" {reasons[0].detail}" if reasons and by_gate else f" {release.note}" if release.note else ""
    who = "the release gate" if by_gate else f"an approver (key {release.decided_by})"
    why = ", which could not tell whether it is safe" if is_undecided else ""
    other = (
        f", and so can an evaluation that asks more: POST /v1/jobs/{release.job_id}/evaluate" if is_undecided else ""
    )
    return (
        f"the adapter is withheld by {who}{why}, on job {release.job_id}:{first} Read GET "
        f"/v1/jobs/{release.job_id}/report; a key with the scope {Scope.APPROVE} can release it: POST "
        f"/v1/jobs/{release.job_id}/release with a note{other}"
    )
