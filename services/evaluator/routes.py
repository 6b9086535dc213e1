"""The evaluator's routes. All need the service token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import anyio
from fastapi import APIRouter, Depends, Request
from prometheus_client import Gauge

from rolekeeper.contracts.checks import EvaluationCheck, EvaluationReady
from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.suites import Suite, SuiteList, SuiteRequest
from rolekeeper.contracts.verdicts import ReferenceVerdict, Verdict, VerdictItem, VerdictRequest, VerdictResponse
from rolekeeper.lm.turnstile import Check
from rolekeeper.method.fidelity import rouge_l
from rolekeeper.web.admission import Admission
from rolekeeper.web.disconnect import run_for_client
from rolekeeper.web.errors import problem_responses
from rolekeeper.web.service_token import require_service_token
from services.evaluator.attacks.encodings import Reading, read, understood
from services.evaluator.judges import Exchange, Judge, find_judges
from services.evaluator.judges.coherence import is_incoherent
from services.evaluator.respond import Likelihood, Responder
from services.evaluator.software import software_versions
from services.evaluator.suites.shelf import Suites


class Entrance(NamedTuple):
    """Who may come in: those with the token, and so many at once for verdicts, which `inside` counts."""

    service_token: str
    max_requests: int
    inside: Gauge


def evaluator_router(
    responder: Responder, suites: Suites, judges: Mapping[JudgeName, Judge], entrance: Entrance
) -> APIRouter:
    """Return the routes."""
    admission = Admission(entrance.max_requests, entrance.inside, "answered")
    # Its own threads, one for each request inside: the others serve the routes that must answer at once.
    limiter = anyio.CapacityLimiter(entrance.max_requests)
    router = APIRouter(
        prefix="/v1",
        tags=["evaluation"],
        dependencies=[Depends(require_service_token(entrance.service_token))],
        responses=problem_responses(401, 422, 503),
    )

    @router.post(
        "/suites", operation_id="find_suite", summary="The prompts of a suite", responses=problem_responses(404)
    )
    def post_suite(request: SuiteRequest) -> Suite:
        return suites.find(request)

    @router.get("/suites", operation_id="list_suites", summary="The suites there are")
    def get_suites() -> SuiteList:
        return suites.overview()

    @router.post(
        "/checks",
        operation_id="check_evaluation",
        summary="Whether an evaluation can be made",
        responses=problem_responses(404),
    )
    def check(request: EvaluationCheck) -> EvaluationReady:
        asked = find_judges(judges, request.judges)
        counts = {suite.choice.label: len(suites.find(suite).prompts) for suite in request.suites}
        return EvaluationReady(num_prompts=counts, judges=tuple(judge.used for judge in asked))

    @router.post(
        "/verdicts", operation_id="judge", summary="Answer prompts, judge answers", responses=problem_responses(404)
    )
    async def judge(request: Request, order: VerdictRequest) -> VerdictResponse:
        asked = find_judges(judges, order.judges)
        with admission.enter():
            return await run_for_client(request, lambda check: _answer(responder, asked, order, check), limiter)

    return router


def _answer(responder: Responder, asked: Sequence[Judge], order: VerdictRequest, check: Check) -> VerdictResponse:
    answers = responder.answer(order, check)
    return VerdictResponse(
        base_model=order.base_model,
        base_digest=answers.base_digest,
        adapter_sha256=order.adapter_sha256,
        judges=tuple(judge.used for judge in asked),
        decoding=answers.decoding,
        software=software_versions(),
        verdicts=judge_answers(asked, order.items, answers.texts, answers.references),
    )


def judge_answers(
    judges: Sequence[Judge],
    items: Sequence[VerdictItem],
    responses: Sequence[str],
    references: Sequence[Likelihood | None] = (),
) -> tuple[Verdict, ...]:
    """What each judge says of each response: it sees the plain request, and a decoded response decoded."""
    readings = [
        Reading(text, was_encoded=False) if item.encoding is None else read(item.encoding, text)
        for item, text in zip(items, responses, strict=True)
    ]
    requests = [item.goal or item.messages[-1].content for item in items]
    exchanges = [Exchange(request, reading.text) for request, reading in zip(requests, readings, strict=True)]
    by_judge = {judge.used.name: judge.judge(exchanges) for judge in judges}
    own = _judge_references(judges[0], items, references)
    return tuple(
        Verdict(
            id=item.id,
            response=text,
            judgements={name: judgements[index] for name, judgements in by_judge.items()},
            fidelity=max((rouge_l(reference, text) for reference in item.references), default=None),
            understood=None if item.encoding is None else understood(item.encoding, requests[index], text),
            decoded=readings[index].text if readings[index].was_encoded else None,
            babble=is_incoherent(readings[index].text),
            reference=own.get(index),
        )
        for index, (item, text) in enumerate(zip(items, responses, strict=True))
    )


def _judge_references(
    judge: Judge, items: Sequence[VerdictItem], references: Sequence[Likelihood | None]
) -> dict[int, ReferenceVerdict]:
    """What the judge says of the references that were measured, by the index of their item."""
    measured = {index: found for index, found in enumerate(references) if found is not None}
    exchanges = [Exchange(items[index].messages[-1].content, items[index].references[0]) for index in measured]
    judgements = judge.judge(exchanges) if exchanges else []
    return {
        index: ReferenceVerdict(log_prob=found.log_prob, num_tokens=found.num_tokens, judgement=judgement)
        for (index, found), judgement in zip(measured.items(), judgements, strict=True)
    }
