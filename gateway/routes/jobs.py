"""/v1/jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from gateway.conditional import is_current, not_modified
from gateway.dependencies import AfterQuery, CallerDep, IdPath, LimitQuery, ResourcesDep, SessionDep
from gateway.documents import DOWNLOAD_ERRORS, JOB_EXAMPLES
from gateway.method_files import keep_method_files
from rolekeeper.contracts.jobs import Job, JobCreate, StageName
from rolekeeper.contracts.problems import ErrorItem, Page
from rolekeeper.errors import UnknownBaseModel
from rolekeeper.jobs import service
from rolekeeper.jobs.db import after_commit
from rolekeeper.lm.catalog import find_entry
from rolekeeper.web.errors import problem_responses

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=problem_responses(*DOWNLOAD_ERRORS))


@router.post("", status_code=202, operation_id="create_job", summary="Train and evaluate a character")
def create_job(
    request: Request,
    response: Response,
    session: SessionDep,
    resources: ResourcesDep,
    caller: CallerDep,
    new: Annotated[JobCreate, Body(openapi_examples=JOB_EXAMPLES)],
) -> Job:
    """Queue a job: score the dialogues, train the adapter, evaluate it. Follow it at `Location`."""
    _check_base_model(resources, new.base_model)
    request_id: str = request.state.request_id
    files = keep_method_files(session, resources.store, caller, new.method)
    job = service.create_job(session, caller, new, request_id, files)

    def send_hint() -> None:
        resources.hints.send(StageName.SCORE, job.id, request_id)

    after_commit(session, send_hint)
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("", operation_id="list_jobs", summary="List jobs, newest first")
def list_jobs(session: SessionDep, caller: CallerDep, after: AfterQuery = None, limit: LimitQuery = 20) -> Page[Job]:
    """One page of the jobs of this key's owner."""
    return service.list_jobs(session, caller, after, limit)


@router.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Get a job",
    response_model=Job,
    responses={304: {"description": "The job is as the ETag in If-None-Match says"}},
)
def get_job(
    request: Request, response: Response, session: SessionDep, caller: CallerDep, job_id: IdPath
) -> Job | Response:
    """Status, stages and progress. Poll it with If-None-Match: an unchanged job is a 304 without a body."""
    # The version is read first: at worst it is older than the body, and the next poll brings the body again.
    etag = f'"{service.job_version(session, caller, job_id)}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if is_current(request, etag):
        return not_modified(headers)
    response.headers.update(headers)
    return service.get_job(session, caller, job_id)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancel_job",
    summary="Cancel a job",
    responses=problem_responses(409),
)
def cancel_job(session: SessionDep, caller: CallerDep, job_id: IdPath) -> Job:
    """Ask for the job to stop. A running stage stops at its next sign of life; cancelling twice changes nothing."""
    return service.request_cancel(session, caller, job_id)


def _check_base_model(resources: ResourcesDep, alias: str) -> None:
    """Raise UnknownBaseModel, which lists what is offered."""
    try:
        find_entry(dict(resources.catalog), alias)
    except UnknownBaseModel as error:
        item = ErrorItem(pointer="/base_model", detail=error.message)
        raise UnknownBaseModel(error.message, problems=[item]) from error
