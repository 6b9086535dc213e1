"""What a job made: scores, report and adapter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import from_json
from starlette.responses import FileResponse

from gateway.conditional import artifact_headers, download, is_current, not_modified
from gateway.dependencies import CallerDep, IdPath, SessionDep, StoreDep
from gateway.documents import DOWNLOAD_ERRORS
from gateway.score_summary import summarise
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.problems import Page
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.scores import SampleScore, ScoreSummary
from rolekeeper.jobs import service
from rolekeeper.web.errors import problem_responses

router = APIRouter(prefix="/v1/jobs", tags=["results"], responses=problem_responses(*DOWNLOAD_ERRORS, 409))

AfterIndex = Annotated[int, Query(ge=-1, description="Index of the last sample of the page before")]
SampleLimit = Annotated[int, Query(ge=1, le=1000, description="Samples per page")]


@router.get(
    "/{job_id}/scores",
    operation_id="list_job_scores",
    summary="Score of each dialogue",
    response_model_exclude_none=True,
)
def list_job_scores(
    session: SessionDep,
    store: StoreDep,
    caller: CallerDep,
    job_id: IdPath,
    after: AfterIndex = -1,
    limit: SampleLimit = 100,
) -> Page[SampleScore]:
    """How role-like and how unsafe each response is, and whether it is harmful and anchored in training."""
    artifact = service.get_artifact(session, caller, job_id, ArtifactKind.SCORES)
    found = list(islice(_scores_after(store, artifact, after), limit + 1))
    return Page(data=tuple(found[:limit]), has_more=len(found) > limit)


@router.get("/{job_id}/scores/summary", operation_id="get_job_score_summary", summary="What all scores amount to")
def get_job_score_summary(session: SessionDep, store: StoreDep, caller: CallerDep, job_id: IdPath) -> ScoreSummary:
    """Harmful share with its interval, histogram of the margins, and the most role-like and most harmful samples."""
    artifact = service.get_artifact(session, caller, job_id, ArtifactKind.SCORES)
    return summarise(SampleScore.model_validate_json(line) for line in store.lines(artifact.sha256))


@router.get("/{job_id}/report", operation_id="get_job_report", summary="The safety report", response_model=SafetyReport)
def get_job_report(
    request: Request, session: SessionDep, store: StoreDep, caller: CallerDep, job_id: IdPath
) -> Response:
    """Base model against tuned model: refusals, over-refusals and role fidelity, with intervals and all answers."""
    artifact = service.get_artifact(session, caller, job_id, ArtifactKind.REPORT)
    headers = artifact_headers(artifact)
    if is_current(request, headers["etag"]):
        return not_modified(headers)
    return Response(store.path(artifact.sha256).read_bytes(), headers=headers, media_type="application/json")


@router.get(
    "/{job_id}/adapter",
    operation_id="get_job_adapter",
    summary="Download the adapter",
    response_class=FileResponse,
    responses={
        200: {"content": {"application/x-tar": {}}},
        206: {"description": "The range that was asked for"},
        304: {"description": "The adapter is as the ETag in If-None-Match says"},
    },
)
def get_job_adapter(
    request: Request, session: SessionDep, store: StoreDep, caller: CallerDep, job_id: IdPath
) -> Response:
    """A tar of a PEFT folder. Ranges work; the ETag is the sha256 of the whole."""
    artifact = service.get_artifact(session, caller, job_id, ArtifactKind.ADAPTER)
    return download(request, store, artifact, f"adapter-{job_id}.tar", "application/x-tar")


def _scores_after(store: Store, artifact: Artifact, after: int) -> Iterator[SampleScore]:
    """Yield the scores with a larger index. The lines are in the order of their indexes, which may have gaps."""
    for line in store.lines(artifact.sha256):
        score = from_json(line)
        if score["index"] > after:
            yield SampleScore.model_validate(score)
