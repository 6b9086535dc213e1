"""POST /v1/scores."""

from __future__ import annotations

import time

import structlog
from fastapi import APIRouter, Depends

from rolekeeper.contracts.scores import ScoreRequest, ScoreResponse
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.method.prompts import PROMPTS_VERSION
from rolekeeper.web.errors import problem_responses
from rolekeeper.web.service_token import require_service_token
from services.scorer.scoring import score_dialogues


def score_router(models: ResidentModels, service_token: str, max_batch_tokens: int) -> APIRouter:
    """Return the routes of the scorer."""
    router = APIRouter(prefix="/v1", tags=["scores"], dependencies=[Depends(require_service_token(service_token))])

    @router.post(
        "/scores",
        operation_id="create_scores",
        summary="Score up to 256 samples of one character",
        responses=problem_responses(401, 413, 422),
    )
    def create_scores(request: ScoreRequest) -> ScoreResponse:
        started = time.monotonic()
        with models.use(request.base_model) as loaded:
            waited = time.monotonic() - started
            scores = score_dialogues(loaded, request, max_batch_tokens)
            digest = loaded.digest
        structlog.get_logger().info(
            "scored",
            base_model=request.base_model,
            num_samples=len(scores),
            num_harmful=sum(score.harmful for score in scores),
            wait_seconds=round(waited, 3),
            seconds=round(time.monotonic() - started - waited, 3),
        )
        return ScoreResponse(
            base_model=request.base_model, base_digest=digest, prompts_version=PROMPTS_VERSION, scores=scores
        )

    return router
