"""What a job made: scores, report and adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from http import HTTPStatus
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import from_json
from sqlalchemy.orm import Session
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse

from gateway.cards import read_card
from gateway.conditional import artifact_headers, download, is_current, not_modified
from gateway.dependencies import IdPath, ReaderDep, SessionDep, StoreDep, WriterDep
from gateway.documents import DOWNLOAD_ERRORS
from gateway.routing import GatewayRoute
from gateway.score_summary import summarise
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import Artifact, ArtifactKind
from rolekeeper.contracts.problems import Page
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.scores import SampleScore, ScoreSummary
from rolekeeper.jobs import service
from rolekeeper.jobs.audit import About
from rolekeeper.jobs.releases import get_open_adapter, note_download
from rolekeeper.report.card import finish_card
from rolekeeper.report.reading import read_report
from rolekeeper.report.render import content_security_policy, render_page
from rolekeeper.web.errors import problem_responses

router = APIRouter(
    prefix="/v1/jobs",
    tags=["results"],
    responses=problem_responses(*DOWNLOAD_ERRORS, 409),
    route_class=GatewayRoute,
)

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
    owner: ReaderDep,
    job_id: IdPath,
    after: AfterIndex = -1,
    limit: SampleLimit = 100,
) -> Page[SampleScore]:
    """How role-like and how unsafe each response is, and whether it is harmful and anchored in training."""
    artifact = service.get_artifact(session, owner, job_id, ArtifactKind.SCORES)
    found = list(islice(_scores_after(store, artifact, after), limit + 1))
    return Page(data=tuple(found[:limit]), has_more=len(found) > limit)


@router.get("/{job_id}/scores/summary", operation_id="get_job_score_summary", summary="What all scores amount to")
def get_job_score_summary(session: SessionDep, store: StoreDep, owner: ReaderDep, job_id: IdPath) -> ScoreSummary:
    """Harmful share with its interval, histogram of the margins, and the most role-like and most harmful samples."""
    artifact = service.get_artifact(session, owner, job_id, ArtifactKind.SCORES)
    return summarise(SampleScore.model_validate_json(line) for line in store.lines(artifact.sha256))


@router.get("/{job_id}/report", operation_id="get_job_report", summary="The safety report", response_model=SafetyReport)
def get_job_report(
    request: Request, session: SessionDep, store: StoreDep, owner: ReaderDep, job_id: IdPath
) -> Response:
    """Base model against tuned model: refusals, over-refusals and role fidelity, with intervals and all answers."""
    artifact = service.get_artifact(session, owner, job_id, ArtifactKind.REPORT)
    headers = artifact_headers(artifact)
    if is_current(request, headers["etag"]):
        return not_modified(headers)
    return Response(store.path(artifact.sha256).read_bytes(), headers=headers, media_type="application/json")


@router.get(
    "/{job_id}/report.html",
    operation_id="get_job_report_page",
    summary="The safety report as a page",
    response_class=HTMLResponse,
    responses={304: {"description": "The page is as the ETag in If-None-Match says"}},
)
def get_job_report_page(
    request: Request, session: SessionDep, store: StoreDep, owner: ReaderDep, job_id: IdPath
) -> Response:
    """The same report for people: complete in itself, to read, print and keep. Answers are blurred until clicked."""
    report = _read_report(session, store, owner, job_id)
    page = render_page(report).encode()
    headers = {
        "etag": f'"sha256-{hashlib.sha256(page).hexdigest()}"',
        "cache-control": "private, no-cache",
        "content-security-policy": f"{content_security_policy()}; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    if is_current(request, headers["etag"]):
        return not_modified(headers)
    return HTMLResponse(page, headers=headers)


@router.get(
    "/{job_id}/card",
    operation_id="get_job_card",
    summary="The model card, with the results",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/markdown": {}}}},
)
def get_job_card(session: SessionDep, store: StoreDep, owner: ReaderDep, job_id: IdPath) -> Response:
    """The adapter's README.md with what the report found: `model-index` for the Hugging Face hub, and a table."""
    report = _read_report(session, store, owner, job_id)
    card = finish_card(read_card(store, report.adapter_sha256), report)
    return Response(card, headers={"cache-control": "private, no-cache"}, media_type="text/markdown")


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
    request: Request, session: SessionDep, store: StoreDep, caller: WriterDep, job_id: IdPath
) -> Response:
    """A tar of a PEFT folder. Ranges work; the ETag is the sha256 of the whole. A withheld adapter is a 409."""
    artifact = get_open_adapter(session, caller.owner, job_id)
    response = download(request, store, artifact, f"adapter-{job_id}.tar", "application/x-tar")
    if response.status_code == HTTPStatus.OK:  # ranges are cut out of it later
        asked = About(note=request.headers.get("range"), request_id=request.state.request_id)
        note_download(session, caller, job_id, artifact, asked)
    return response


def _read_report(session: Session, store: Store, owner: str, job_id: str) -> SafetyReport:
    artifact = service.get_artifact(session, owner, job_id, ArtifactKind.REPORT)
    return read_report(store.path(artifact.sha256).read_bytes())


def _scores_after(store: Store, artifact: Artifact, after: int) -> Iterator[SampleScore]:
    """Yield the scores with a larger index. The lines are in the order of their indexes, which may have gaps."""
    for line in store.lines(artifact.sha256):
        score = from_json(line)
        if score["index"] > after:
            yield SampleScore.model_validate(score)
