"""/v1/jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from sqlalchemy.orm import Session

from gateway.conditional import is_current, not_modified, version_headers
from gateway.dependencies import (
    AfterQuery,
    DeletionDep,
    IdPath,
    LimitQuery,
    OwnerDep,
    ReaderDep,
    ResourcesDep,
    SessionDep,
    WriterDep,
    find_resources,
)
from gateway.documents import BODY_ERRORS, DOWNLOAD_ERRORS, EVALUATION_EXAMPLES, JOB_EXAMPLES
from gateway.method_files import keep_method_files
from gateway.quotas import count_prompts, demand_of, refuse_more
from gateway.resources import Resources
from gateway.routing import GatewayRoute, PolledRoute
from gateway.suite_files import Shelf, find_suite_files
from rolekeeper.contracts.deletion import Deleted
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import Job, JobCreate, Status
from rolekeeper.contracts.problems import ErrorItem, Page
from rolekeeper.errors import UnknownBaseModel
from rolekeeper.jobs import deletion, pausing, service, versions
from rolekeeper.jobs.db import after_commit
from rolekeeper.jobs.reevaluation import Again, evaluate_again
from rolekeeper.lm.catalog import find_entry
from rolekeeper.policy import apply_policy, refuse_weaker
from rolekeeper.web.errors import problem_responses

router = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], responses=problem_responses(*DOWNLOAD_ERRORS), route_class=GatewayRoute
)

polled = APIRouter(
    prefix="/v1/jobs", tags=["jobs"], responses=problem_responses(*DOWNLOAD_ERRORS), route_class=PolledRoute
)


@router.post(
    "",
    status_code=202,
    operation_id="create_job",
    summary="Train and evaluate a character",
    responses=problem_responses(*BODY_ERRORS, 429),
)
def create_job(
    request: Request,
    response: Response,
    session: SessionDep,
    resources: ResourcesDep,
    caller: WriterDep,
    new: Annotated[JobCreate, Body(openapi_examples=JOB_EXAMPLES)],
) -> Job:
    """Queue a job: score the dialogues, train the adapter, evaluate it. Follow it at `Location`."""
    _check_base_model(resources, new.base_model)
    new = new.model_copy(update={"evaluation": apply_policy(resources.policy, new.evaluation, "/evaluation")})
    request_id: str = request.state.request_id
    files = keep_method_files(session, resources, caller.owner, new.method)
    files |= find_suite_files(Shelf(resources.suites, session, caller.owner), new.evaluation.suites)
    _check_open_jobs(resources, session, caller.owner)
    job = service.create_job(session, caller.owner, new, request_id, files)
    _check_quota(resources, session, job, files, caller.owner)
    after_commit(session, lambda: _hint(resources, job, request_id))
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.post(
    "/{job_id}/evaluate",
    status_code=202,
    operation_id="evaluate_job",
    summary="Evaluate an adapter again",
    responses=problem_responses(*BODY_ERRORS, 409, 429),
)
def evaluate_job(
    request: Request,
    response: Response,
    session: SessionDep,
    caller: WriterDep,
    job_id: IdPath,
    asked: Annotated[EvaluationOptions | None, Body(openapi_examples=EVALUATION_EXAMPLES)] = None,
) -> Job:
    """Queue a job with the scores and the adapter of this one, which only evaluates. What is left out is as before."""
    options, resources = asked or EvaluationOptions(), find_resources(request)
    refuse_weaker(resources.policy, options, "")
    request_id: str = request.state.request_id
    shelf = Shelf(resources.suites, session, caller.owner)
    again = Again(options, find_suite_files(shelf, options.suites, under=""), request_id)
    _check_open_jobs(resources, session, caller.owner)
    job = evaluate_again(session, caller.owner, job_id, again)
    asked_again = find_suite_files(shelf, job.evaluation.suites, under="")
    _check_quota(resources, session, job, asked_again, caller.owner)
    after_commit(session, lambda: _hint(resources, job, request_id))
    response.headers["location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("", operation_id="list_jobs", summary="List jobs, newest first")
def list_jobs(session: SessionDep, owner: ReaderDep, after: AfterQuery = None, limit: LimitQuery = 20) -> Page[Job]:
    """One page of the jobs of this key's owner."""
    return service.list_jobs(session, owner, after, limit)


@polled.get(
    "/{job_id}",
    operation_id="get_job",
    summary="Get a job",
    response_model=Job,
    responses={304: {"description": "The job is as the ETag in If-None-Match says"}},
)
def get_job(
    request: Request, response: Response, session: SessionDep, owner: ReaderDep, job_id: IdPath
) -> Job | Response:
    """Status, stages and progress. Poll it with If-None-Match: an unchanged job is a 304 without a body."""
    # The version is read first: at worst it is older than the body, and the next poll brings the body again.
    headers = version_headers(versions.job_version(session, owner, job_id))
    if is_current(request, headers["etag"]):
        return not_modified(headers)
    response.headers.update(headers)
    return service.get_job(session, owner, job_id)


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancel_job",
    summary="Cancel a job",
    responses=problem_responses(409),
)
def cancel_job(session: SessionDep, owner: OwnerDep, job_id: IdPath) -> Job:
    """Ask for the job to stop. A running stage stops at its next sign of life; cancelling twice changes nothing."""
    return service.request_cancel(session, owner, job_id)


@router.delete("/{job_id}", operation_id="delete_job", summary="Delete a job", responses=problem_responses(409))
def delete_job(session: SessionDep, by: DeletionDep, job_id: IdPath) -> Deleted:
    """Delete a job that has ended, with its scores, adapter and report. What was decided on the adapter stays."""
    return deletion.delete_job(session, by, job_id)


@router.post(
    "/{job_id}/pause",
    status_code=202,
    operation_id="pause_job",
    summary="Pause a job",
    responses=problem_responses(409),
)
def pause_job(session: SessionDep, owner: OwnerDep, job_id: IdPath) -> Job:
    """Ask for the job to make room. A training run stops after its step and saves a checkpoint; other stages begin
    anew later. The job is `paused` once its stage has stopped; pausing twice changes nothing."""
    return pausing.request_pause(session, owner, job_id)


@router.post(
    "/{job_id}/resume",
    status_code=202,
    operation_id="resume_job",
    summary="Resume a paused job",
    responses=problem_responses(409),
)
def resume_job(request: Request, session: SessionDep, resources: ResourcesDep, owner: OwnerDep, job_id: IdPath) -> Job:
    """Let a paused job go on where it was. Resuming a job that is not paused changes nothing."""
    job = pausing.request_resume(session, owner, job_id)
    request_id: str = request.state.request_id
    after_commit(session, lambda: _hint(resources, job, request_id))
    return job


def _hint(resources: Resources, job: Job, request_id: str) -> None:
    """Tell the workers of the stages that wait for one."""
    for stage in job.stages:
        if stage.status == Status.QUEUED:
            resources.hints.send(stage.name, job.id, request_id)


def _check_open_jobs(resources: Resources, session: Session, owner: str) -> None:
    most = resources.quotas.of(owner).max_open_jobs
    if most is not None:
        service.refuse_more_jobs(session, owner, most)


def _check_quota(resources: Resources, session: Session, job: Job, files: Mapping[str, str], owner: str) -> None:
    """Raise InvalidInput if a new job asks for more than its owner may. `files` has the digests of its own suites."""
    num_dialogues = service.get_character(session, owner, job.character).num_dialogues
    demand = demand_of(job, num_dialogues, count_prompts(resources.suites, resources.store, job, files))
    # The body of another evaluation is the evaluation.
    under = "/evaluation" if job.evaluates is None else ""
    refuse_more(resources.quotas.of(owner), job, demand, resources.policy.judge, under)


def _check_base_model(resources: ResourcesDep, alias: str) -> None:
    """Raise UnknownBaseModel, which lists what is offered."""
    try:
        find_entry(dict(resources.catalog), alias)
    except UnknownBaseModel as error:
        item = ErrorItem(pointer="/base_model", detail=error.message)
        raise UnknownBaseModel(error.message, problems=[item]) from error
