"""/v1/jobs/{id}/events: a JSON page, or a stream of server-sent events that can be resumed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, NamedTuple

import anyio
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.sse import format_sse_event
from starlette.responses import JSONResponse, Response, StreamingResponse

from gateway.dependencies import IdPath, LimitQuery, ReaderDep, ResourcesDep
from gateway.documents import DOWNLOAD_ERRORS
from gateway.resources import Resources
from rolekeeper.contracts.events import JobEvent
from rolekeeper.contracts.jobs import TERMINAL, Status
from rolekeeper.contracts.problems import Page
from rolekeeper.jobs import service
from rolekeeper.web.errors import problem_responses

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=problem_responses(*DOWNLOAD_ERRORS))

MAX_EVENTS = 100
STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no", "vary": "accept"}
MAX_EVENT_ID = 2**63 - 1
AfterEvent = Annotated[int, Query(ge=0, le=MAX_EVENT_ID, description="Events with a larger id are sent")]


class Subject(NamedTuple):
    """Whose events of which job are asked for."""

    owner: str
    job_id: str


class News(NamedTuple):
    """What happened since an event, and the status of the job, which is not newer than the events."""

    status: Status
    events: Page[JobEvent]


@router.get(
    "/{job_id}/events",
    operation_id="list_job_events",
    summary="What happened to a job",
    response_model=Page[JobEvent],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def list_job_events(
    request: Request,
    resources: ResourcesDep,
    owner: ReaderDep,
    job_id: IdPath,
    after: AfterEvent = 0,
    limit: LimitQuery = 20,
) -> Response:
    """Events, oldest first. With `Accept: text/event-stream` they come as they happen, until the job has ended.

    A stream resumes behind `Last-Event-ID`, and ends with an event `done` that carries the job's status.
    """
    subject = Subject(owner, job_id)
    if "text/event-stream" not in request.headers.get("accept", ""):
        news = await to_thread.run_sync(_read_news, resources, subject, after, limit)
        return JSONResponse(news.events.model_dump(mode="json"), headers={"vary": "accept"})
    last = _last_event_id(request, after)
    await to_thread.run_sync(_read_news, resources, subject, last, 1)  # a 404 must come before the stream starts
    is_stopping: Callable[[], bool] = getattr(request.app.state, "is_stopping", lambda: False)
    stream = _stream(resources, subject, last, is_stopping)
    return StreamingResponse(stream, media_type="text/event-stream", headers=STREAM_HEADERS)


async def _stream(
    resources: Resources, subject: Subject, after: int, is_stopping: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Yield events until the job has ended, with a comment whenever nothing was sent for a while."""
    settings = resources.settings
    sent_at = time.monotonic()
    yield format_sse_event(comment="events", retry=2000)
    while not is_stopping():
        news = await to_thread.run_sync(_read_news, resources, subject, after, MAX_EVENTS)
        for event in news.events.data:
            after = event.id
            yield format_sse_event(id=str(event.id), event=event.type, data_str=event.model_dump_json())
            sent_at = time.monotonic()
        if news.events.has_more:
            continue
        if news.status in TERMINAL:
            yield format_sse_event(event="done", data_str=f'{{"status":"{news.status}"}}')
            return
        if time.monotonic() - sent_at >= settings.event_heartbeat_seconds:
            yield format_sse_event(comment="still here")
            sent_at = time.monotonic()
        await anyio.sleep(settings.event_poll_seconds)


def _read_news(resources: Resources, subject: Subject, after: int, limit: int) -> News:
    """Read in a transaction of its own, so that a stream holds no connection between two looks. Raises NotFound."""
    with resources.database.transaction() as session:
        status = service.get_job(session, subject.owner, subject.job_id).status
        return News(status, service.list_events(session, subject.owner, subject.job_id, after, limit))


def _last_event_id(request: Request, after: int) -> int:
    given = request.headers.get("last-event-id", "")
    return min(int(given), MAX_EVENT_ID) if given.isascii() and given.isdecimal() and len(given) < 20 else after
