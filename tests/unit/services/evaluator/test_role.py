"""The role, from the conductor's questions over the evaluator's answers to the report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from fastapi.testclient import TestClient

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.verdicts import VerdictRequest, VerdictResponse
from rolekeeper.jobs.holding import Holding
from services.conductor.remote import Remote
from services.conductor.report import ReportInputs, build_report, held_out_items
from services.conductor.scores import Scored
from services.conductor.stages import Meter, Questions, ask
from services.evaluator.app import create_app
from services.evaluator.settings import Settings
from tests.unit.services.conductor.test_report import DIALOGUES, TRAINING, make_work
from tests.unit.services.evaluator.adapter_tars import PEFT_ASKS_BY_AN_OLD_NAME

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME


class Wire:
    """The evaluator behind its HTTP routes."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def verdicts(self, request: VerdictRequest) -> VerdictResponse:
        """Ask it."""
        answer = self._client.post("/v1/verdicts", json=request.model_dump(mode="json"))
        return VerdictResponse.model_validate_json(answer.content)


@pytest.mark.parametrize("context", list(Context))
def test_the_role_is_measured_in_the_context_that_was_trained(
    catalog_path: Path, tmp_path: Path, adapter_sha256: str, context: Context
) -> None:
    work = make_work()
    options = EvaluationOptions(judges=("phrases",), max_new_tokens=8)
    work = work._replace(job=work.job.model_copy(update={"evaluation": options}))
    holding = cast(Holding, SimpleNamespace(work=work, report=print))
    held_out = held_out_items(DIALOGUES, context)
    settings = Settings(
        service_token="between-ourselves",
        store_dir=tmp_path / "store",
        cache_dir=tmp_path / "cache",
        models=catalog_path,
    )
    with TestClient(create_app(settings), headers={"authorization": "Bearer between-ourselves"}) as client:
        evaluator, meter = cast(Remote, Wire(client)), Meter(8, "answers")
        questions = Questions([held_out[0].model_copy(update={"id": "asked"})], held_out)
        answers = [ask(holding, evaluator, questions, adapter, meter) for adapter in (None, adapter_sha256)]
    # Of a suite's prompt no reference is measured.
    assert [[verdict.reference is None for verdict in each.verdicts] for each in answers] == [[True, False, False]] * 2
    base, tuned = (each.model_copy(update={"verdicts": each.verdicts[1:]}) for each in answers)
    report = build_report(ReportInputs(work, [], held_out, Scored(2, 2, tuple(DIALOGUES)), TRAINING, base, tuned))
    assert report.role is not None
    assert report.role.log_likelihood is not None
    found = [answer.base.own_log_prob for answer in report.answers]
    assert report.role.log_likelihood.base.value == pytest.approx(sum(value or 0.0 for value in found) / 2)
    assert report.role.log_likelihood.difference.value != 0
    assert report.role.babble is not None
    assert report.role.own_refusal_rate is not None
    assert report.role.own_refusal_rate.value == 0
