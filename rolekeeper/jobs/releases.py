"""Whether an adapter is given out: what the gate decides, and what an approver decides over it.

    pending   -> released   an evaluation passed the gate
    pending   -> withheld   an evaluation did not pass
    released  -> withheld   a later evaluation did not pass
    approved  -> withheld   a later evaluation found something that the approver had not seen
    any       -> approved   an approver released it
    any       -> withheld   an approver withheld it

Only an approver opens what is withheld: an evaluation that passes does not. The state is that of the adapter's bytes,
for one owner, so that neither a second evaluation nor the same order again is a way around a decision.
"""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.jobs import TERMINAL, Job, Status
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.release import AuditAction, ReleaseStatus, Scope
from rolekeeper.errors import AdapterWithheld, Conflict
from rolekeeper.jobs import audit, repository
from rolekeeper.jobs.audit import About
from rolekeeper.jobs.keys import Caller
from rolekeeper.jobs.rows import JobRow, ReleaseRow
from rolekeeper.jobs.service import get_artifact

GATE = "gate"


def decide_by_gate(session: Session, job: JobRow, report: Artifact, outcome: GateOutcome) -> None:
    """Note what the gate found in this job's report, and release or withhold its adapter. The job's row is locked."""
    adapter = repository.find_artifact(session, job.id, ArtifactKind.ADAPTER)
    if adapter is None:
        raise Conflict(f"job {job.id} has no adapter to release")
    release, found = _lock(session, job.owner, adapter), outcome.model_dump(mode="json")
    if outcome.passed:
        if release.status == ReleaseStatus.PENDING:
            _set(release, job, ReleaseStatus.RELEASED, GATE)
    else:
        was_seen = release.status == ReleaseStatus.APPROVED and release.outcome == found
        if release.status != ReleaseStatus.WITHHELD and not was_seen:
            _set(release, job, ReleaseStatus.WITHHELD, GATE)
        release.outcome = found
    release.version += 1
    _tell_of_gate(session, job, outcome, ReleaseStatus(release.status))
    action = AuditAction.GATE_PASSED if outcome.passed else AuditAction.GATE_BLOCKED
    note = " ".join(check.sentence for check in outcome.reasons) or None
    about = About(None, job.id, adapter.sha256, report.sha256, note, job.request_id)
    audit.append(session, job.owner, action, about)


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


def _tell_of_gate(session: Session, job: JobRow, outcome: GateOutcome, status: ReleaseStatus) -> None:
    kind = AuditAction.GATE_PASSED if outcome.passed else AuditAction.GATE_BLOCKED
    found = "the evaluation passed the gate" if outcome.passed else "the evaluation did not pass the gate"
    sentences = [check.sentence for check in outcome.reasons]
    repository.add_event(session, job.id, kind, f"{found}; the adapter is {status}", reasons=sentences)


def _reasons(release: ReleaseRow) -> list[ErrorItem]:
    """What the gate found, each with its place in the safety report."""
    if release.outcome is None:
        return []
    checks = GateOutcome.model_validate(release.outcome).checks
    return [
        ErrorItem(pointer=f"/gate/checks/{number}", detail=check.sentence)
        for number, check in enumerate(checks)
        if not check.passed
    ]


def _pending_detail(job: JobRow) -> str:
    why = f"the adapter of job {job.id} is withheld: no evaluation of it has been through the release gate"
    if Status(job.status) in TERMINAL:
        return f"{why}, and the job has {job.status}; evaluate it again (POST /v1/jobs/{job.id}/evaluate)"
    return f"{why}, and the job is still {job.status}; ask again when it is done"


def _withheld_detail(release: ReleaseRow, reasons: list[ErrorItem]) -> str:
    by_gate = release.decided_by == GATE
    first = f" {reasons[0].detail}" if reasons and by_gate else f" {release.note}" if release.note else ""
    who = "the release gate" if by_gate else f"an approver (key {release.decided_by})"
    return (
        f"the adapter is withheld by {who}, on job {release.job_id}:{first} Read GET /v1/jobs/{release.job_id}/report; "
        f"a key with the scope {Scope.APPROVE} can release it: POST /v1/jobs/{release.job_id}/release with a note"
    )
