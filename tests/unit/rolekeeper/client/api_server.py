"""A small server that speaks the contracts of the public API and fails on command, on a free port."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.middleware.base import RequestResponseEndpoint

from rolekeeper.contracts.characters import Character, CharacterCreate, UploadedFile
from rolekeeper.contracts.deletion import Deleted
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.events import JobEvent
from rolekeeper.contracts.jobs import Job, JobCreate, Status
from rolekeeper.contracts.problems import Contract, ErrorItem, OpenAiError, Page, Problem
from rolekeeper.contracts.release import AuditAction, AuditEntry, Decision, Release, ReleaseStatus
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.scores import SampleScore
from tests.unit.rolekeeper.client.samples import NOW, make_job, make_summary
from tests.unit.rolekeeper.reports import make_report

KEY = "rk_test_secret"
ADAPTER = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(ADAPTER).hexdigest()

Answer = Callable[[], Response]


@dataclass
class Recorded:
    """What the server was asked: method, path, headers and body of each request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ApiState:
    """What the server answers next, and what it was asked."""

    url: str = ""
    requests: list[Recorded] = field(default_factory=list)
    failures: deque[Answer] = field(default_factory=deque)
    states: list[Job] = field(default_factory=list)
    scores: list[SampleScore] = field(default_factory=list)
    report: SafetyReport = field(default_factory=make_report)
    cuts: deque[int] = field(default_factory=deque)
    adapter: bytes = ADAPTER
    adapter_headers: dict[str, str] = field(default_factory=lambda: {"etag": f'"sha256-{SHA256}"'})
    seen: int = 0

    def paths(self) -> list[str]:
        """`METHOD /path` of every request."""
        return [f"{request.method} {request.path}" for request in self.requests]


def problem(status: int, detail: str, errors: tuple[ErrorItem, ...] = (), retry_after: int | None = None) -> Response:
    """An error body as the gateway sends it."""
    body = Problem(
        title="refused",
        status=status,
        detail=detail,
        request_id="req-7",
        errors=errors,
        error=OpenAiError(message=detail, type="invalid_request_error", code="some_code"),
    )
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return Response(body.model_dump_json(), status, headers, "application/problem+json")


@contextlib.contextmanager
def serving(state: ApiState) -> Iterator[ApiState]:
    """Serve `state` on a free port until the block ends."""
    config = uvicorn.Config(make_app(state), host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the test server ended before it started"
        thread.join(0.01)
    state.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        server.should_exit = True
        thread.join()


def make_app(state: ApiState) -> FastAPI:
    """The routes of the public API that the client uses."""
    app = FastAPI()

    @app.middleware("http")
    async def fail_on_command(request: Request, call_next: RequestResponseEndpoint) -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        state.requests.append(Recorded(request.method, path, dict(request.headers), await request.body()))
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return problem(401, "this key is not known")
        if state.failures:
            return state.failures.popleft()()
        return await call_next(request)

    _add_writes(app)
    _add_decisions(app)
    _add_reads(app, state)
    return app


def _json(model: Contract, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(model.model_dump_json(), status, headers, "application/json")


def _add_writes(app: FastAPI) -> None:
    @app.post("/v1/files")
    async def upload(request: Request) -> Response:
        form = await request.form()
        upload = form["file"]
        assert not isinstance(upload, str)
        data = await upload.read()
        await upload.close()
        uploaded = UploadedFile(
            id="file_1",
            bytes=len(data),
            created_at=0,
            filename=upload.filename or "",
            purpose=str(form["purpose"]),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        return _json(uploaded, 201)

    @app.post("/v1/characters")
    def create_character(body: CharacterCreate) -> Response:
        character = Character(
            id="char_1",
            name=body.name,
            profile=body.profile,
            created_at=NOW,
            num_dialogues=2,
            num_messages=4,
            dialogues_sha256="d" * 64,
            notes=("an empty line was ignored",),
        )
        return _json(character, 201)

    @app.post("/v1/jobs")
    def create_job(body: JobCreate) -> Response:
        job = make_job(Status.QUEUED, (Status.QUEUED, Status.PENDING, Status.PENDING))
        return _json(job.model_copy(update={"character": body.character}), 202)

    @app.delete("/v1/{folder}/{resource_id}")
    def delete(folder: str, resource_id: str) -> Response:
        kind = folder.removesuffix("s")
        return _json(Deleted.model_validate({"id": resource_id, "object": kind, "erased_after": NOW}))

    @app.post("/v1/jobs/{job_id}/cancel")
    def cancel(job_id: str) -> Response:
        job = make_job(Status.RUNNING, (Status.RUNNING, Status.PENDING, Status.PENDING))
        return _json(job.model_copy(update={"cancel_requested": True, "id": job_id}))

    @app.post("/v1/jobs/{job_id}/pause")
    def pause(job_id: str) -> Response:
        job = make_job(Status.RUNNING, (Status.RUNNING, Status.PENDING, Status.PENDING))
        return _json(job.model_copy(update={"pause_requested": True, "id": job_id}))

    @app.post("/v1/jobs/{job_id}/resume")
    def resume(job_id: str) -> Response:
        job = make_job(Status.RUNNING, (Status.QUEUED, Status.PENDING, Status.PENDING))
        return _json(job.model_copy(update={"id": job_id}))


def _add_decisions(app: FastAPI) -> None:
    @app.post("/v1/jobs/{job_id}/evaluate", status_code=202)
    def evaluate(job_id: str, body: EvaluationOptions) -> Response:
        job = make_job(Status.QUEUED, (Status.SUCCEEDED, Status.SUCCEEDED, Status.QUEUED))
        return _json(job.model_copy(update={"id": "job_2", "evaluates": job_id, "evaluation": body}), 202)

    @app.post("/v1/jobs/{job_id}/{decision}")
    def decide(job_id: str, decision: str, body: Decision) -> Response:
        status = {"release": ReleaseStatus.APPROVED, "withhold": ReleaseStatus.WITHHELD}[decision]
        job = make_job(Status.SUCCEEDED, (Status.SUCCEEDED, Status.SUCCEEDED, Status.SUCCEEDED))
        return _json(job.model_copy(update={"id": job_id, "release": Release(status=status, note=body.note)}))

    @app.get("/v1/audit")
    def audit(limit: int, job: str | None = None, after: int = 151) -> Response:
        found = [
            AuditEntry(
                id=n,
                created_at=NOW,
                owner="platform",
                key_id="key_1",
                action=AuditAction.ADAPTER_RELEASED,
                job=job or "job_1",
                adapter_sha256=SHA256,
                report_sha256=None,
                note="looked at it",
                request_id=None,
            )
            for n in range(after - 1, 0, -1)
        ]
        return _json(Page[AuditEntry](data=tuple(found[:limit]), has_more=limit < len(found)))


def _add_reads(app: FastAPI, state: ApiState) -> None:
    @app.get("/v1/jobs")
    def jobs(limit: int, after: str | None = None) -> Response:
        found = [state.states[0].model_copy(update={"id": f"job_{n}"}) for n in range(250)]
        start = 0 if after is None else int(after.removeprefix("job_")) + 1
        return _json(Page[Job](data=tuple(found[start : start + limit]), has_more=start + limit < len(found)))

    @app.get("/v1/jobs/{job_id}")
    def job(request: Request) -> Response:
        version = min(state.seen // 2, len(state.states) - 1)  # every state is seen twice
        state.seen += 1
        etag = f'"{version}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers={"etag": etag})
        return _json(state.states[version], headers={"etag": etag})

    @app.get("/v1/jobs/{job_id}/events")
    def events(after: int, limit: int) -> Response:
        found = [JobEvent(id=n, created_at=NOW, level="info", type="t", message=f"event {n}") for n in range(1, 151)]
        later = [event for event in found if event.id > after]
        return _json(Page[JobEvent](data=tuple(later[:limit]), has_more=len(later) > limit))

    @app.get("/v1/jobs/{job_id}/scores")
    def scores(limit: int, after: int = -1) -> Response:
        later = [score for score in state.scores if score.index > after]
        return _json(Page[SampleScore](data=tuple(later[:limit]), has_more=len(later) > limit))

    @app.get("/v1/jobs/{job_id}/scores/summary")
    def score_summary() -> Response:
        return _json(make_summary())

    @app.get("/v1/jobs/{job_id}/report")
    def report() -> Response:
        return _json(state.report)

    @app.get("/v1/jobs/{job_id}/card")
    def card() -> Response:
        return Response("---\ntags: []\n---\n# Isaura Kell\n", media_type="text/markdown")

    @app.get("/v1/jobs/{job_id}/adapter")
    def adapter(request: Request) -> Response:
        return _adapter(state, request.headers.get("range"))


def _adapter(state: ApiState, asked: str | None) -> Response:
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
    if start >= len(state.adapter):
        return problem(416, "there are no such bytes")
    rest = state.adapter[start:]
    cut = state.cuts.popleft() if state.cuts else None

    def body() -> Iterator[bytes]:
        yield rest[:cut]
        if cut is not None:
            raise ConnectionAbortedError("cut on command")

    headers = state.adapter_headers | {"content-length": str(len(rest))}
    if asked:
        headers["content-range"] = f"bytes {start}-{len(state.adapter) - 1}/{len(state.adapter)}"
    return StreamingResponse(body(), 206 if asked else 200, headers, "application/x-tar")
