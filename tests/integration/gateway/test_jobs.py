"""Jobs: ordering, polling, pausing and cancelling them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.jobs import StageName
from rolekeeper.jobs.claims import claim, read_work
from tests.integration.gateway.calls import LINE, create_character, create_job, hint_of, problem_of, upload


def test_created(client: TestClient) -> None:
    body = {"character": create_character(client), "base_model": "smollm2-135m", "hyperparameters": {"epochs": 1}}
    response = client.post("/v1/jobs", json=body, headers={"x-request-id": "call-7"})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert response.headers["x-request-id"] == "call-7"
    assert job["status"] == "queued"
    assert job["hyperparameters"]["epochs"] == 1
    assert [stage["status"] for stage in job["stages"]] == ["queued", "pending", "pending"]
    assert client.get("/v1/jobs").json()["data"] == [job]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"base_model": "gpt-2"}, 422, "smollm2-135m, smollm2-135m-aligned"),
        ({"character": "char_0"}, 404, "char_0"),
        ({"character": "a\0"}, 422, "can't be stored"),
        ({"hyperparameters": {"epochs": 0}}, 422, "/hyperparameters/epochs"),
        ({"method": {"name": "dpo"}}, 422, "/method/name must be 'sarft', 'sft', 'random', 'flip', 'all'"),
        ({"method": {"name": "seal"}}, 422, "/method/options/safe_file is missing: seal needs"),
        ({"method": {"name": "bi_selection"}}, 422, "/method/options/safe_file is missing: bi_selection needs"),
        ({"method": {"options": {"harmful_file": "file_0"}}}, 422, "/method/options/harmful_file is not used by sarft"),
        ({"method": {"name": "seal", "options": {"safe_file": "file_0"}}}, 404, "file_0"),
        (
            {"method": {"name": "seal", "options": {"safe_file": "file_0", "anchors": "prompts"}}},
            422,
            "/method/options/safe_file is not used by seal with anchors: prompts",
        ),
        ({"typo": 1}, 422, "/typo"),
        ({"deadline_seconds": 1}, 422, "/deadline_seconds"),
    ],
)
def test_bad_order(client: TestClient, change: dict[str, Any], status: int, words: str) -> None:
    body = {"character": create_character(client), "base_model": "smollm2-135m", **change}
    assert words in problem_of(client.post("/v1/jobs", json=body), status).detail
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_method_gets_its_files_as_canonical_dialogues(client: TestClient, store_dir: Path, app: FastAPI) -> None:
    safe = upload(client, LINE + b"\n\n" + LINE).json()["id"]
    harmful = upload(client, LINE).json()["id"]
    method = {"name": "bi_selection", "options": {"safe_file": safe, "harmful_file": harmful}}
    body = {"character": create_character(client), "base_model": "smollm2-135m", "method": method}
    response = client.post("/v1/jobs", json=body)
    assert response.status_code == 202, response.text
    assert response.json()["method"]["options"]["safe_file"] == safe
    with app.state.resources.database.transaction() as session:
        held = claim(session, response.json()["id"], StageName.SCORE, "tests", 30.0)
        assert held is not None
        files = read_work(session, held).files
    assert {option: len(list(Store(store_dir).lines(sha256))) for option, sha256 in files.items()} == {
        "safe_file": 2,
        "harmful_file": 1,
    }


def test_two_halves_need_two_dialogues(client: TestClient) -> None:
    file = upload(client, LINE).json()["id"]
    method = {"name": "bi_selection", "options": {"safe_file": file, "harmful_file": file}}
    body = {"character": create_character(client), "base_model": "smollm2-135m", "method": method}
    problem = problem_of(client.post("/v1/jobs", json=body), 422)
    assert [item.pointer for item in problem.errors] == ["/method/options/safe_file"]
    assert "holds 1 dialogue(s); bi_selection needs at least 2" in problem.detail


def test_etag(client: TestClient) -> None:
    path = f"/v1/jobs/{create_job(client)}"
    etag = client.get(path).headers["etag"]
    unchanged = client.get(path, headers={"if-none-match": f'"x", W/{etag}'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", etag)
    assert client.post(f"{path}/cancel").status_code == 202
    assert client.get(path, headers={"if-none-match": etag}).json()["status"] == "cancelled"


def test_pause_and_resume(client: TestClient, redis_url: str) -> None:
    path = f"/v1/jobs/{create_job(client)}"
    hints = redis.Redis.from_url(redis_url)
    hint_of(hints, path)
    hints.flushall()
    paused = client.post(f"{path}/pause")
    assert (paused.status_code, paused.json()["status"], paused.json()["pause_requested"]) == (202, "paused", True)
    assert client.get(path).json() == paused.json()
    assert hints.llen("rolekeeper:conductor") == 0
    resumed = client.post(f"{path}/resume")
    assert (resumed.status_code, resumed.json()["status"], resumed.json()["pause_requested"]) == (202, "queued", False)
    assert hint_of(hints, path)
    hints.close()
    client.post(f"{path}/cancel")
    for wish in ("pause", "resume"):
        assert "has cancelled already" in problem_of(client.post(f"{path}/{wish}"), 409).detail


def test_another_owner_pauses_nothing(client: TestClient, make_client: Callable[[str], TestClient]) -> None:
    path = f"/v1/jobs/{create_job(client)}"
    for wish in ("pause", "resume"):
        problem_of(make_client("other").post(f"{path}/{wish}"), 404)
    assert client.get(path).json()["status"] == "queued"


def test_results_conflict_while_there_are_none(client: TestClient) -> None:
    path = f"/v1/jobs/{create_job(client)}"
    for kind in ("scores", "scores/summary", "report", "adapter"):
        response = client.get(f"{path}/{kind}")
        missing = kind.split("/")[0]
        problem = problem_of(response, 409)
        assert f"has no {missing}" in problem.detail
        assert problem.error.code == f"no_{missing}"
        assert response.headers["x-should-retry"] == "false"
