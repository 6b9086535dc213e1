"""What the stages ask of the services, and by which seeds."""

from __future__ import annotations

from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.jobs import AskedHyperparameters, Job
from services.conductor.stages import split_seed, suite_requests
from tests.unit.services.conductor.test_report import make_work


def job_with(**evaluation: object) -> Job:
    changes = {
        "hyperparameters": AskedHyperparameters(seed=5),
        "evaluation": EvaluationOptions.model_validate(evaluation),
    }
    return make_work().job.model_copy(update=changes)


def test_dialogues_are_held_out_by_a_seed_of_their_own_or_that_of_training() -> None:
    assert split_seed(job_with()) == 5
    assert split_seed(job_with(seed=3)) == 5
    assert split_seed(job_with(split_seed=0)) == 0


def test_a_suite_is_asked_for_with_the_seed_of_prompts_and_the_base_model() -> None:
    (request,) = suite_requests(make_work()._replace(job=job_with(seed=3, split_seed=9)))
    assert (request.seed, request.base_model, request.character) == (3, "tiny", "Isaura Kell")
