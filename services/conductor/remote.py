"""Calls to the scorer and the evaluator: contracts in, contracts out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from rolekeeper.contracts.beats import MEDIA_TYPE, unseal
from rolekeeper.contracts.checks import EvaluationCheck, EvaluationReady
from rolekeeper.contracts.problems import Problem
from rolekeeper.contracts.scores import ScoreRequest, ScoreResponse
from rolekeeper.contracts.suites import Suite, SuiteRequest
from rolekeeper.contracts.verdicts import VerdictRequest, VerdictResponse
from rolekeeper.errors import JudgeAway, StageFailed, StageInterrupted, StorageFull

Answer = TypeVar("Answer", bound=BaseModel)

PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 1.0
MAX_RETRY_AFTER_SECONDS = 10.0
CHECK_SECONDS = 0.2
RETRIABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


class Service(NamedTuple):
    """Where a compute service is, what it asks of callers, and how long it may be silent before it counts as hung."""

    name: str
    url: str
    token: str
    stall_seconds: float


class Reply(NamedTuple):
    """An answer of the service, out of its envelope."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def problem(self) -> Problem | None:
        """What the service says is wrong; None if it says nothing that we understand."""
        try:
            return Problem.model_validate_json(self.content)
        except ValidationError:
            return None


class Remote:
    """One compute service. A call that can't be answered now is repeated until the patience ends.

    Between two tries it waits a second, or longer if the service asks for it in `Retry-After`. A judge that is away
    for longer costs the stage no attempt: it goes back to the queue until the judge answers. While the service works,
    it sends a sign of each second's progress; one that sends none for too long hangs, and the call ends.

    `check` is called all the while, so that a cancelled job waits for nothing.
    """

    def __init__(self, service: Service, check: Callable[[], None], request_id: str | None) -> None:
        self._service = service
        self._check = check
        self._headers = {"authorization": f"Bearer {service.token}", "accept": MEDIA_TYPE, **JSON}
        if request_id:
            self._headers["x-request-id"] = request_id
        self._loop = asyncio.Runner()
        self._http = self._loop.run(self._connect())

    def close(self) -> None:
        """Close the connections."""
        self._loop.run(self._http.aclose())
        self._loop.close()

    def score(self, request: ScoreRequest) -> ScoreResponse:
        """Scores of up to 256 samples."""
        return self._call("/v1/scores", request, ScoreResponse)

    def suite(self, request: SuiteRequest) -> Suite:
        """The prompts of a suite."""
        return self._call("/v1/suites", request, Suite)

    def check_evaluation(self, request: EvaluationCheck) -> EvaluationReady:
        """Whether every suite, attack and judge of a job can be had."""
        return self._call("/v1/checks", request, EvaluationReady)

    def verdicts(self, request: VerdictRequest) -> VerdictResponse:
        """Answers and verdicts for up to 256 items."""
        return self._call("/v1/verdicts", request, VerdictResponse)

    def _call(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        deadline = time.monotonic() + PATIENCE_SECONDS
        content = body.model_dump_json().encode()
        name = self._service.name
        while True:
            self._check()
            pause = PAUSE_SECONDS
            try:
                reply = self._loop.run(self._post(path, content))
                if reply.status not in RETRIABLE:
                    return self._read(reply, answer)
                reason = f"it answered {reply.status}"
                pause = max(pause, _retry_after(reply))
                judge = _judge_away(reply)
            except httpx.TransportError as error:
                reason, judge = str(error) or type(error).__name__, None
            structlog.get_logger().warning("service does not answer", service=name, reason=reason)
            if time.monotonic() > deadline and judge is not None:
                raise JudgeAway(f"put back until its judge answers: {judge}")
            if time.monotonic() > deadline:
                message = f"the {name} did not answer for {PATIENCE_SECONDS:.0f} s: {reason}"
                raise StageInterrupted(message, code=f"{name}_unavailable")
            time.sleep(pause)

    async def _connect(self) -> httpx.AsyncClient:
        timeout = httpx.Timeout(self._service.stall_seconds, connect=5.0)
        # trust_env: a proxy that the environment names is for the internet, and must not get the service token.
        return httpx.AsyncClient(base_url=self._service.url, headers=self._headers, timeout=timeout, trust_env=False)

    async def _post(self, path: str, content: bytes) -> Reply:
        """One try. What `check` raises ends it, and closes the connection, by which the service hears of it."""
        call = asyncio.create_task(self._http.post(path, content=content))
        try:
            while not (await asyncio.wait({call}, timeout=CHECK_SECONDS))[0]:
                self._check()
            return _opened(call.result())
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            seconds = self._service.stall_seconds
            message = f"the {self._service.name} hangs: it made no progress for {seconds:g} s; start it again"
            raise StageInterrupted(message, code=f"{self._service.name}_hung") from error
        finally:
            call.cancel()
            await asyncio.wait({call})

    def _read(self, reply: Reply, answer: type[Answer]) -> Answer:
        name = self._service.name
        if reply.status == httpx.codes.INSUFFICIENT_STORAGE:
            raise StorageFull(f"the {name} has no room: {_detail(reply)}")
        if httpx.codes.is_success(reply.status):
            try:
                return answer.model_validate_json(reply.content)
            except ValidationError as error:
                raise StageFailed(f"the {name} answered nonsense: {error}", code="bad_answer") from error
        raise StageFailed(f"the {name} refused: {_detail(reply)}", code=f"{name}_refused")


JSON = {"content-type": "application/json"}


def _opened(response: httpx.Response) -> Reply:
    """Take an answer out of its envelope. Raises TransportError for one that was cut off."""
    if response.headers.get("content-type") != MEDIA_TYPE:  # from something between us and the service
        return Reply(response.status_code, response.headers, response.content)
    try:
        envelope, body = unseal(response.content)
    except ValidationError as error:
        raise httpx.RemoteProtocolError("its answer was cut off") from error
    return Reply(envelope.status, httpx.Headers(dict(envelope.headers)), body)


def _retry_after(reply: Reply) -> float:
    # The header may also hold a date, which our own services never send.
    value = reply.headers.get("retry-after", "")
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isdecimal() else 0.0


def _judge_away(reply: Reply) -> str | None:
    """Return what the evaluator says of a judge that does not answer; None if that is not what is wrong."""
    problem = reply.problem
    return problem.detail if problem is not None and problem.error.code == JudgeAway.code else None


def _detail(reply: Reply) -> str:
    problem = reply.problem
    if problem is None:
        return f"status {reply.status}"
    return "; ".join([problem.detail, *(f"{item.pointer}: {item.detail}" for item in problem.errors)])
