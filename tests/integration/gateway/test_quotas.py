"""A job asks for no more than its owner may, in the words of the body that asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.integration.gateway.calls import DIALOGUE, PROFILE, problem_of

QUOTAS = """
[default]
max_answers = 1000
max_answer_tokens = 100_000
max_learned = 20
max_open_jobs = 2
[owners.rich]
judges = ["local", "phrases", "paid"]
"""
Make = Callable[[str], TestClient]


@pytest.fixture
def limited(app: FastAPI, make_client: Make, tmp_path: Path) -> Make:
    """Clients of a gateway with quotas."""
    (tmp_path / "quotas.toml").write_text(QUOTAS, "utf-8")
    settings: Settings = app.state.resources.settings.model_copy(update={"quotas": tmp_path / "quotas.toml"})

    def make(owner: str) -> TestClient:
        return TestClient(create_app(settings), headers=dict(make_client(owner).headers))

    return make


def job_of(client: TestClient, num_dialogues: int = 10, **options: Any) -> dict[str, Any]:
    body = {**PROFILE, "dialogues": [DIALOGUE] * num_dialogues}
    character = client.post("/v1/characters", json=body).json()["id"]
    return {"character": character, "base_model": "smollm2-135m", "hyperparameters": {"epochs": 1}, **options}


def test_an_ordinary_job_is_within_them(limited: Make) -> None:
    client = limited("platform")
    assert client.post("/v1/jobs", json=job_of(client)).status_code == 202


@pytest.mark.parametrize(
    ("options", "pointer", "words"),
    [
        (
            {"evaluation": {"suites": [{"name": "starter"}, {"name": "advbench"}], "max_new_tokens": 8}},
            "/evaluation/suites",
            "makes it 1930 answers of both models together; your quota is 1000",
        ),
        (
            {"evaluation": {"max_new_tokens": 128}},
            "/evaluation/max_new_tokens",
            "makes it 113920 tokens of answers; your quota is 100000",
        ),
        (
            {"evaluation": {"decoding": {"rose_weight": 0.5}}},
            "/evaluation/max_new_tokens",
            "makes it 113920 tokens of answers (by ROSE they count twice); your quota is 100000",
        ),
        (
            {"hyperparameters": {"epochs": 3}},
            "/hyperparameters/epochs",
            "makes it 30 dialogues to learn, epochs counted; your quota is 20",
        ),
        (
            {"evaluation": {"judges": ["local", "paid"]}},
            "/evaluation/judges/1",
            "is 'paid', which the operator does not name for you; your judges are local, phrases",
        ),
    ],
)
def test_what_is_over_them_is_named(limited: Make, options: dict[str, Any], pointer: str, words: str) -> None:
    client = limited("platform")
    problem = problem_of(client.post("/v1/jobs", json=job_of(client, **options)), 422)
    assert problem.error.code == "over_quota"
    assert [item.pointer for item in problem.errors] == [pointer]
    assert words in problem.errors[0].detail
    assert client.get("/v1/jobs").json()["data"] == []


def test_all_that_is_over_them_is_named_at_once(limited: Make) -> None:
    client = limited("platform")
    evaluation = {"suites": [{"name": "starter"}, {"name": "advbench"}], "max_new_tokens": 1024, "judges": ["paid"]}
    order = job_of(client, evaluation=evaluation, hyperparameters={"epochs": 50})
    problem = problem_of(client.post("/v1/jobs", json=order), 422)
    assert [item.pointer for item in problem.errors] == [
        "/evaluation/suites",
        "/evaluation/max_new_tokens",
        "/hyperparameters/epochs",
        "/evaluation/judges/0",
    ]


def test_a_judge_is_named_for_an_owner(limited: Make) -> None:
    client = limited("rich")
    order = job_of(client, evaluation={"judges": ["local", "paid"]})
    assert client.post("/v1/jobs", json=order).status_code == 202


def test_prompts_of_an_own_suite_are_counted(limited: Make) -> None:
    client = limited("platform")

    def ask(num_prompts: int, **choice: int) -> Any:
        rows = b"".join(b"prompt %d,benign,sums\n" % number for number in range(num_prompts))
        content = b"prompt,part,category\n" + rows
        sent = client.post("/v1/files", data={"purpose": "suite"}, files={"file": ("own.csv", content)}).json()
        return client.post("/v1/jobs", json=job_of(client, evaluation={"suites": [{"file": sent["id"], **choice}]}))

    assert "makes it 1206 answers" in problem_of(ask(600), 422).detail
    assert ask(600, max_prompts=400).status_code == 202
    assert ask(400).status_code == 202


def test_as_many_jobs_as_may_be_open(limited: Make) -> None:
    client = limited("platform")
    order = job_of(client)
    jobs = [client.post("/v1/jobs", json=order).json()["id"] for _ in range(2)]
    refused = client.post("/v1/jobs", json=order)
    assert problem_of(refused, 429).error.code == "quota_exceeded"
    assert refused.headers["retry-after"] == "60"
    other = limited("other")
    assert other.post("/v1/jobs", json=job_of(other)).status_code == 202
    client.post(f"/v1/jobs/{jobs[0]}/cancel")
    assert client.post("/v1/jobs", json=order).status_code == 202
