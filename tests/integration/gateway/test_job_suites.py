"""The suites that a job names are checked when it is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rolekeeper.contracts.jobs import StageName
from rolekeeper.contracts.suites import SuiteChoice
from rolekeeper.jobs.claims import claim, read_work
from services.conductor.stages import suite_requests
from tests.integration.gateway.calls import LINE, create_character, problem_of, upload

SUITE = b'{"prompt": "Do it", "part": "harmful", "category": "illicit"}\n'


def order(client: TestClient, *suites: dict[str, Any]) -> Any:
    body = {
        "character": create_character(client),
        "base_model": "smollm2-135m",
        "evaluation": {"suites": list(suites)},
    }
    return client.post("/v1/jobs", json=body)


def test_an_uploaded_suite_reaches_the_evaluator_by_its_digest(client: TestClient, app: FastAPI) -> None:
    file_id = upload(client, SUITE, purpose="suite").json()["id"]
    response = order(client, {"name": "ours", "file": file_id}, {"name": "xstest", "max_prompts": 9})
    assert response.status_code == 202, response.text
    job = response.json()
    assert [choice["name"] for choice in job["evaluation"]["suites"]] == ["ours", "xstest"]
    with app.state.resources.database.transaction() as session:
        held = claim(session, job["id"], StageName.SCORE, "w", 30.0)
        assert held is not None
        own, public = suite_requests(read_work(session, held))
    assert own.choice == SuiteChoice(name="ours", file=file_id)
    assert own.file_sha256 == hashlib.sha256(SUITE).hexdigest()
    assert (public.file_sha256, public.character) == (None, "Vesna")


def test_an_unknown_suite_is_refused_before_anything_runs(client: TestClient) -> None:
    problem = problem_of(order(client, {"name": "starter"}, {"name": "advbanch"}), 422)
    assert problem.errors[0].pointer == "/evaluation/suites/1/name"
    assert "no suite 'advbanch'; known are advbench" in problem.detail
    assert problem.error.code == "unknown_suite"


def test_a_file_must_be_the_callers_own_suite(client: TestClient, make_client: Callable[[str], TestClient]) -> None:
    theirs = upload(make_client("another"), SUITE, purpose="suite").json()["id"]
    for file_id in ("file_0", theirs):
        problem = problem_of(order(client, {"file": file_id}), 422)
        assert problem.errors[0].pointer == "/evaluation/suites/0/file"
        assert f"there is no file '{file_id}'; upload the suite" in problem.detail
    dialogues = upload(client, LINE).json()["id"]
    assert "has purpose 'fine-tune'" in problem_of(order(client, {"file": dialogues}), 422).detail


@pytest.mark.parametrize("choice", [{}, {"name": "starter", "attack": "dan"}, {"name": "starter", "attack_model": "m"}])
def test_a_choice_that_does_not_fit_together_is_refused(client: TestClient, choice: dict[str, Any]) -> None:
    assert problem_of(order(client, choice), 422).errors[0].pointer.startswith("/evaluation/suites/0")
