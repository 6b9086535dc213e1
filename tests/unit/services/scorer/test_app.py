from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import ValidationError

from rolekeeper.contracts.problems import Problem
from rolekeeper.contracts.scores import ScoreResponse
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.prompts import PROMPTS_VERSION
from services.scorer.app import create_app
from services.scorer.paper_prompts import BadPaperPrompts
from services.scorer.settings import Settings
from tests.unit.services.scorer.conftest import TOKEN


def body(**changes: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "Nobody you know."}]
    profile = {"name": "Mara", "profile": "A smuggler."}
    return {"base_model": "tiny", "profile": profile, "dialogues": [{"messages": messages}]} | changes


def test_scores_come_with_what_they_were_made_with(client: TestClient, loaded: LoadedModel) -> None:
    response = client.post("/v1/scores", json=body())
    assert response.status_code == 200
    answer = ScoreResponse.model_validate_json(response.content)
    assert (answer.base_model, answer.base_digest) == ("tiny", loaded.digest)
    assert answer.prompts_version == PROMPTS_VERSION
    assert len(answer.scores) == 1
    assert client.post("/v1/scores", json=body()).content == response.content


@pytest.mark.parametrize("headers", [{"authorization": "Bearer wrong"}, {"authorization": ""}])
def test_only_our_own_processes_are_served(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/v1/scores", json=body(), headers=headers).status_code == 401


def test_a_bad_sample_is_named(client: TestClient) -> None:
    dialogues = [*body()["dialogues"], {"messages": [{"role": "user", "content": "Well?"}]}]
    response = client.post("/v1/scores", json=body(dialogues=dialogues))
    problem = Problem.model_validate_json(response.content)
    assert (response.status_code, problem.error.code) == (422, "unusable_dialogue")
    assert [item.pointer for item in problem.errors] == ["/dialogues/1"]


def test_a_response_of_blanks_is_named(client: TestClient) -> None:
    blank = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": " \n"}]
    response = client.post("/v1/scores", json=body(dialogues=[*body()["dialogues"], {"messages": blank}]))
    problem = Problem.model_validate_json(response.content)
    assert (response.status_code, problem.errors[0].pointer) == (422, "/dialogues/1")
    assert problem.errors[0].detail == "the response is empty"


def test_token_margins_come_only_where_they_are_asked_for(client: TestClient) -> None:
    assert b"token_margins" not in client.post("/v1/scores", json=body()).content
    (score,) = client.post("/v1/scores", json=body(per_token=True)).json()["scores"]
    assert len(score["token_margins"]) == score["num_tokens"]


@pytest.mark.parametrize("dialogues", [[], body()["dialogues"] * 257])
def test_the_number_of_samples_is_bounded(client: TestClient, dialogues: list[Any]) -> None:
    response = client.post("/v1/scores", json=body(dialogues=dialogues))
    assert response.status_code == 422
    assert Problem.model_validate_json(response.content).errors[0].pointer == "/dialogues"


def test_an_unknown_base_model_is_told_what_there_is(client: TestClient) -> None:
    response = client.post("/v1/scores", json=body(base_model="gpt-9"))
    assert response.status_code == 422
    assert "offered are gone, tiny" in Problem.model_validate_json(response.content).detail


def test_a_base_model_that_can_not_be_loaded_says_why(client: TestClient) -> None:
    response = client.post("/v1/scores", json=body(base_model="gone"))
    problem = Problem.model_validate_json(response.content)
    assert (response.status_code, problem.error.code) == (500, "base_model_unusable")
    assert "there is no folder" in problem.detail


def test_paper_v2_needs_the_file_that_the_operator_names(
    client: TestClient, catalog_path: Path, tmp_path: Path
) -> None:
    order = body(prompt_set="paper_v2")
    problem = Problem.model_validate_json(client.post("/v1/scores", json=order).content)
    assert (problem.status, problem.error.code) == (422, "paper_prompts_missing")
    assert "docs/reproduce.md" in problem.detail
    prompts = {
        name: {"role": f"You are {name}. Play it.", "safe": f"You are {name}. Lie."} for name in ("Gull", "Mara")
    }
    file = tmp_path / "prompt_v2.json"
    file.write_text(json.dumps(prompts), encoding="utf-8")
    settings = Settings(service_token=TOKEN, models=catalog_path, paper_prompts=file)
    with TestClient(create_app(settings), headers={"authorization": f"Bearer {TOKEN}"}) as served:
        assert len(ScoreResponse.model_validate_json(served.post("/v1/scores", json=order).content).scores) == 1


@pytest.mark.parametrize(
    ("content", "words"), [(None, "can't be read"), ("{}", "is not the released"), ("{", "is not")]
)
def test_a_file_of_prompts_that_can_not_be_used_stops_the_start(
    catalog_path: Path, tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "prompts.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(BadPaperPrompts, match=rf"prompts\.json .*{words}"):
        create_app(Settings(service_token=TOKEN, models=catalog_path, paper_prompts=file))


def test_preloading_an_unusable_model_stops_the_start(catalog_path: Path) -> None:
    app = create_app(Settings(service_token=TOKEN, models=catalog_path, scorer_preload="tiny, gone"))
    with pytest.raises(Exception, match="there is no folder"), TestClient(app):
        pass


def test_settings_need_a_service_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROLEKEEPER_SERVICE_TOKEN", raising=False)
    with pytest.raises(ValidationError, match="service_token"):
        Settings()


def test_the_process_serves_and_ends_by_signal(catalog_path: Path, loaded: LoadedModel) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "ROLEKEEPER_SERVICE_TOKEN": TOKEN,
        "ROLEKEEPER_SCORER_PORT": str(port),
        "ROLEKEEPER_MODELS": str(catalog_path),
        "ROLEKEEPER_SCORER_PRELOAD": "tiny",
    }
    process = subprocess.Popen([sys.executable, "-m", "services.scorer"], env=environment, stderr=subprocess.PIPE)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {TOKEN}"}) as client:
            wait_until_ready(client, process)
            response = client.post("/v1/scores", json=body(), headers={"x-request-id": "req-of-the-test"})
        assert ScoreResponse.model_validate_json(response.content).base_digest == loaded.digest
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert b"req-of-the-test" in log
        assert TOKEN.encode() not in log
    finally:
        process.kill()
        process.communicate()


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the scorer did not become ready")
