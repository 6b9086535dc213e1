"""POST /v1/scores."""

from __future__ import annotations

import time
from typing import NamedTuple

import anyio
import structlog
from fastapi import APIRouter, Depends, Request, Response

from rolekeeper.contracts.scores import ScoreRequest, ScoreResponse
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.lm.turnstile import Check
from rolekeeper.method.prompts import PROMPTS_VERSION
from rolekeeper.method.released import ReleasedWording
from rolekeeper.web.admission import Admission
from rolekeeper.web.disconnect import run_for_client
from rolekeeper.web.errors import problem_responses
from rolekeeper.web.service_token import require_service_token
from services.scorer.engine import Engine
from services.scorer.scoring import score_dialogues


class Scorer(NamedTuple):
    """What answers the requests. `wording` is that of the released prompts, where the deployment has them."""

    models: ResidentModels
    engine: Engine
    wording: ReleasedWording | None = None


def score_router(scorer: Scorer, service_token: str, max_requests: int) -> APIRouter:
    """Return the routes of the scorer, which lets `max_requests` in at once."""
    router = APIRouter(prefix="/v1", tags=["scores"], dependencies=[Depends(require_service_token(service_token))])
    admission = Admission(max_requests, scorer.engine.metrics.inside, "scored")
    # Its own threads, one for each request inside: the others serve the routes that must answer at once.
    limiter = anyio.CapacityLimiter(max_requests)

    @router.post(
        "/scores",
        operation_id="create_scores",
        summary="Score up to 256 samples of one character",
        response_model=ScoreResponse,
        responses=problem_responses(401, 413, 422, 503),
    )
    async def create_scores(request: Request, order: ScoreRequest) -> Response:
        with admission.enter():
            # Written out in the thread, too: many per-token margins take a while.
            answer = await run_for_client(request, lambda check: _answer(scorer, order, check), limiter)
        return Response(answer, media_type="application/json")

    return router


def _answer(scorer: Scorer, order: ScoreRequest, check: Check) -> str:
    started = time.monotonic()
    with scorer.models.share(order.base_model, check) as loaded:
        waited = time.monotonic() - started
        scores = score_dialogues(loaded, order, scorer.engine, check, scorer.wording)
        digest = loaded.digest
    structlog.get_logger().info(
        "scored",
        base_model=order.base_model,
        num_samples=len(scores),
        num_harmful=sum(score.harmful for score in scores),
        wait_seconds=round(waited, 3),
        seconds=round(time.monotonic() - started - waited, 3),
    )
    response = ScoreResponse(
        base_model=order.base_model, base_digest=digest, prompts_version=PROMPTS_VERSION, scores=scores
    )
    return response.model_dump_json(exclude_none=True)
