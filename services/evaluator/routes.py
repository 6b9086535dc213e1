"""The evaluator's routes. Both need the service token."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Depends

from rolekeeper.contracts.evaluation import Suite, Verdict, VerdictItem, VerdictRequest, VerdictResponse
from rolekeeper.method.fidelity import rouge_l
from rolekeeper.web.errors import problem_responses
from rolekeeper.web.service_token import require_service_token
from services.evaluator.judges import JUDGES, PHRASES, Judge
from services.evaluator.respond import Responder
from services.evaluator.suites import find_suite


def evaluator_router(responder: Responder, suites: Mapping[str, Suite], service_token: str) -> APIRouter:
    """Return the routes."""
    router = APIRouter(
        prefix="/v1",
        tags=["evaluation"],
        dependencies=[Depends(require_service_token(service_token))],
        responses=problem_responses(401, 422, 503),
    )

    @router.get("/suites/{name}", operation_id="get_suite", summary="A prompt suite", responses=problem_responses(404))
    def get_suite(name: str) -> Suite:
        return find_suite(suites, name)

    @router.post(
        "/verdicts", operation_id="judge", summary="Answer prompts, judge answers", responses=problem_responses(404)
    )
    def judge(request: VerdictRequest) -> VerdictResponse:
        answers = responder.answer(request)
        verdicts = (
            _verdict(item, text, JUDGES[PHRASES]) for item, text in zip(request.items, answers.texts, strict=True)
        )
        return VerdictResponse(
            base_model=request.base_model,
            base_digest=answers.base_digest,
            adapter_sha256=request.adapter_sha256,
            judge=PHRASES,
            decoding=answers.decoding,
            verdicts=tuple(verdicts),
        )

    return router


def _verdict(item: VerdictItem, response: str, is_refused: Judge) -> Verdict:
    fidelity = None if item.reference is None else rouge_l(item.reference, response)
    return Verdict(id=item.id, response=response, refused=is_refused(response), fidelity=fidelity)
