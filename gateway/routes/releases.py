"""Decisions on adapters, and the audit log of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from gateway.dependencies import ID_PATTERN, ApproverDep, AuditorDep, IdPath, LimitQuery, SessionDep
from gateway.documents import BODY_ERRORS, DOWNLOAD_ERRORS
from gateway.routing import GatewayRoute
from rolekeeper.contracts.jobs import Job
from rolekeeper.contracts.problems import Page
from rolekeeper.contracts.release import AuditEntry, Decision, ReleaseStatus
from rolekeeper.jobs import audit
from rolekeeper.jobs.releases import decide_by_key
from rolekeeper.web.errors import problem_responses

router = APIRouter(
    prefix="/v1", tags=["release"], responses=problem_responses(*DOWNLOAD_ERRORS), route_class=GatewayRoute
)

MAX_ENTRY_ID = 2**63 - 1
JobQuery = Annotated[str | None, Query(pattern=ID_PATTERN, description="Only entries about this job")]
BeforeEntry = Annotated[int | None, Query(ge=0, le=MAX_ENTRY_ID, description="Id of the last item of the page before")]


@router.post(
    "/jobs/{job_id}/release",
    operation_id="release_adapter",
    summary="Release an adapter",
    responses=problem_responses(*BODY_ERRORS, 409),
)
def release_adapter(
    request: Request, session: SessionDep, caller: ApproverDep, job_id: IdPath, decision: Decision
) -> Job:
    """Let a withheld adapter out, with a note that stays in the audit log. It needs the scope `safety:approve`."""
    return decide_by_key(session, caller, job_id, ReleaseStatus.APPROVED, decision.note, request.state.request_id)


@router.post(
    "/jobs/{job_id}/withhold",
    operation_id="withhold_adapter",
    summary="Withhold an adapter",
    responses=problem_responses(*BODY_ERRORS, 409),
)
def withhold_adapter(
    request: Request, session: SessionDep, caller: ApproverDep, job_id: IdPath, decision: Decision
) -> Job:
    """Hold an adapter back, also one that the gate or an approver let out. It needs the scope `safety:approve`."""
    return decide_by_key(session, caller, job_id, ReleaseStatus.WITHHELD, decision.note, request.state.request_id)


@router.get("/audit", operation_id="list_audit_entries", summary="The audit log, newest first")
def list_audit_entries(
    session: SessionDep, owner: AuditorDep, job: JobQuery = None, after: BeforeEntry = None, limit: LimitQuery = 20
) -> Page[AuditEntry]:
    """What was decided on the adapters of this key's owner, by whom. It needs `safety:approve` or `audit:read`."""
    return audit.list_entries(session, owner, job, after, limit)
