"""/v1/jobs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from gateway.conditional import is_current, not_modified
from gateway.dependencies import AfterQuery, CallerDep, IdPath, LimitQuery, ResourcesDep, SessionDep
from gateway.documents import DOWNLOAD_ERRORS, JOB_EXAMPLES
from gateway.method_files import keep_method_files
from gateway.suite_files import find_suite_files
from rolekeeper.contracts.jobs import Job, JobCreate, StageName, Status
from rolekeeper.contracts.problems import ErrorItem, Page
from rolekeeper.errors import UnknownBaseModel
from rolekeeper.jobs import pausing, service
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
    files = find_suite_files(session, caller, new.evaluation.suites)
    files |= keep_method_files(session, resources.store, caller, new.method)
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


@router.post(
    "/{job_id}/pause",
    status_code=202,
    operation_id="pause_job",
    summary="Pause a job",
    responses=problem_responses(409),
)
def pause_job(session: SessionDep, caller: CallerDep, job_id: IdPath) -> Job:
    """Ask for the job to make room. A training run stops after its step and saves a checkpoint; other stages begin
    anew later. The job is `paused` once its stage has stopped; pausing twice changes nothing."""
    return pausing.request_pause(session, caller, job_id)


@router.post(
    "/{job_id}/resume",
    status_code=202,
    operation_id="resume_job",
    summary="Resume a paused job",
    responses=problem_responses(409),
)
def resume_job(
    request: Request, session: SessionDep, resources: ResourcesDep, caller: CallerDep, job_id: IdPath
) -> Job:
    """Let a paused job go on where it was. Resuming a job that is not paused changes nothing."""
    job = pausing.request_resume(session, caller, job_id)
    request_id: str = request.state.request_id
    waiting = [stage.name for stage in job.stages if stage.status == Status.QUEUED]

    def send_hints() -> None:
        for stage in waiting:
            resources.hints.send(stage, job.id, request_id)

    after_commit(session, send_hints)
    return job


def _check_base_model(resources: ResourcesDep, alias: str) -> None:
    """Raise UnknownBaseModel, which lists what is offered."""
    try:
        find_entry(dict(resources.catalog), alias)
    except UnknownBaseModel as error:
        item = ErrorItem(pointer="/base_model", detail=error.message)
        raise UnknownBaseModel(error.message, problems=[item]) from error
