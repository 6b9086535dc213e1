"""The evaluator's routes. All need the service token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import APIRouter, Depends

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.suites import Suite, SuiteRequest
from rolekeeper.contracts.verdicts import Verdict, VerdictItem, VerdictRequest, VerdictResponse
from rolekeeper.method.fidelity import rouge_l
from rolekeeper.web.errors import problem_responses
from rolekeeper.web.service_token import require_service_token
from services.evaluator.judges import Exchange, Judge, find_judges
from services.evaluator.respond import Responder
from services.evaluator.software import software_versions
from services.evaluator.suites import find_suite


def evaluator_router(
    responder: Responder, suites: Mapping[str, Suite], judges: Mapping[JudgeName, Judge], service_token: str
) -> APIRouter:
    """Return the routes."""
    router = APIRouter(
        prefix="/v1",
        tags=["evaluation"],
        dependencies=[Depends(require_service_token(service_token))],
        responses=problem_responses(401, 422, 503),
    )

    @router.post(
        "/suites", operation_id="find_suite", summary="The prompts of a suite", responses=problem_responses(404)
    )
    def post_suite(request: SuiteRequest) -> Suite:
        return find_suite(suites, request)

    @router.post(
        "/verdicts", operation_id="judge", summary="Answer prompts, judge answers", responses=problem_responses(404)
    )
    def judge(request: VerdictRequest) -> VerdictResponse:
        asked = find_judges(judges, request.judges)
        answers = responder.answer(request)
        return VerdictResponse(
            base_model=request.base_model,
            base_digest=answers.base_digest,
            adapter_sha256=request.adapter_sha256,
            judges=tuple(judge.used for judge in asked),
            decoding=answers.decoding,
            software=software_versions(),
            verdicts=judge_answers(asked, request.items, answers.texts),
        )

    return router


def judge_answers(
    judges: Sequence[Judge], items: Sequence[VerdictItem], responses: Sequence[str]
) -> tuple[Verdict, ...]:
    """What each judge says of each response."""
    exchanges = [Exchange(item.messages[-1].content, text) for item, text in zip(items, responses, strict=True)]
    by_judge = {judge.used.name: judge.judge(exchanges) for judge in judges}
    return tuple(
        Verdict(
            id=item.id,
            response=text,
            judgements={name: judgements[index] for name, judgements in by_judge.items()},
            fidelity=None if item.reference is None else rouge_l(item.reference, text),
        )
        for index, (item, text) in enumerate(zip(items, responses, strict=True))
    )
