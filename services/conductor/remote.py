"""Calls to the scorer and the evaluator: contracts in, contracts out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import httpx
import structlog
from pydantic import BaseModel, ValidationError

from rolekeeper.contracts.checks import EvaluationCheck, EvaluationReady
from rolekeeper.contracts.problems import Problem
from rolekeeper.contracts.scores import ScoreRequest, ScoreResponse
from rolekeeper.contracts.suites import Suite, SuiteRequest
from rolekeeper.contracts.verdicts import VerdictRequest, VerdictResponse
from rolekeeper.errors import JudgeAway, StageFailed, StageInterrupted

Answer = TypeVar("Answer", bound=BaseModel)

CALL_SECONDS = 600.0
PATIENCE_SECONDS = 120.0
PAUSE_SECONDS = 1.0
MAX_RETRY_AFTER_SECONDS = 10.0
RETRIABLE = frozenset({408, 425, 429, 500, 502, 503, 504})


class Remote:
    """One compute service. A call that can't be answered now is repeated until the patience ends.

    Between two tries it waits a second, or longer if the service asks for it in `Retry-After`. A judge that is away
    for longer costs the stage no attempt: it goes back to the queue until the judge answers.

    `check` is called before each try, so that a cancelled job does not wait for a service that is down.
    """

    def __init__(self, name: str, url: str, token: str, check: Callable[[], None], request_id: str | None) -> None:
        self._name = name
        self._check = check
        headers = {"authorization": f"Bearer {token}"} | ({"x-request-id": request_id} if request_id else {})
        timeout = httpx.Timeout(CALL_SECONDS, connect=5.0)
        # trust_env: a proxy that the environment names is for the internet, and must not get the service token.
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def score(self, request: ScoreRequest) -> ScoreResponse:
        """Scores of up to 256 samples."""
        return self._call("POST", "/v1/scores", request, ScoreResponse)

    def suite(self, request: SuiteRequest) -> Suite:
        """The prompts of a suite."""
        return self._call("POST", "/v1/suites", request, Suite)

    def check_evaluation(self, request: EvaluationCheck) -> EvaluationReady:
        """Whether every suite, attack and judge of a job can be had."""
        return self._call("POST", "/v1/checks", request, EvaluationReady)

    def verdicts(self, request: VerdictRequest) -> VerdictResponse:
        """Answers and verdicts for up to 256 items."""
        return self._call("POST", "/v1/verdicts", request, VerdictResponse)

    def _call(self, method: str, path: str, body: BaseModel | None, answer: type[Answer]) -> Answer:
        deadline = time.monotonic() + PATIENCE_SECONDS
        content = None if body is None else body.model_dump_json()
        while True:
            self._check()
            pause = PAUSE_SECONDS
            try:
                response = self._http.request(method, path, content=content, headers=JSON)
                if response.status_code not in RETRIABLE:
                    return self._read(response, answer)
                reason = f"it answered {response.status_code}"
                pause = max(pause, _retry_after(response))
                judge = _judge_away(response)
            except httpx.TransportError as error:
                reason, judge = str(error) or type(error).__name__, None
            structlog.get_logger().warning("service does not answer", service=self._name, reason=reason)
            if time.monotonic() > deadline and judge is not None:
                raise JudgeAway(f"put back until its judge answers: {judge}")
            if time.monotonic() > deadline:
                message = f"the {self._name} did not answer for {PATIENCE_SECONDS:.0f} s: {reason}"
                raise StageInterrupted(message, code=f"{self._name}_unavailable")
            time.sleep(pause)

    def _read(self, response: httpx.Response, answer: type[Answer]) -> Answer:
        if response.is_success:
            try:
                return answer.model_validate_json(response.content)
            except ValidationError as error:
                raise StageFailed(f"the {self._name} answered nonsense: {error}", code="bad_answer") from error
        raise StageFailed(f"the {self._name} refused: {_detail(response)}", code=f"{self._name}_refused")


JSON = {"content-type": "application/json"}


def _retry_after(response: httpx.Response) -> float:
    # The header may also hold a date, which our own services never send.
    value = response.headers.get("retry-after", "")
    return min(float(value), MAX_RETRY_AFTER_SECONDS) if value.isdecimal() else 0.0


def _judge_away(response: httpx.Response) -> str | None:
    """Return what the evaluator says of a judge that does not answer; None if that is not what is wrong."""
    problem = _problem(response)
    return problem.detail if problem is not None and problem.error.code == JudgeAway.code else None


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return None


def _detail(response: httpx.Response) -> str:
    problem = _problem(response)
    if problem is None:
        return f"status {response.status_code}"
    return "; ".join([problem.detail, *(f"{item.pointer}: {item.detail}" for item in problem.errors)])
