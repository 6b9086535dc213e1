"""The client against a real HTTP server."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import Response
from fastapi.responses import StreamingResponse

from rolekeeper.client import client as client_module
from rolekeeper.client.client import Client
from rolekeeper.client.errors import ApiError
from rolekeeper.contracts.characters import CharacterCreate
from rolekeeper.contracts.jobs import AskedHyperparameters, Job, JobCreate, Progress, Status
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput, RolekeeperError, Unavailable
from tests.unit.rolekeeper.client.api_server import KEY, ApiState, problem, serving
from tests.unit.rolekeeper.client.samples import make_job, make_scores, make_summary
from tests.unit.rolekeeper.reports import make_report

PENDING, QUEUED, RUNNING, SUCCEEDED = Status.PENDING, Status.QUEUED, Status.RUNNING, Status.SUCCEEDED
STATES = [
    make_job(QUEUED, (QUEUED, PENDING, PENDING)),
    make_job(RUNNING, (SUCCEEDED, RUNNING, PENDING), Progress(done=1, total=9, unit="steps", metrics={"loss": 2.0})),
    make_job(SUCCEEDED, (SUCCEEDED, SUCCEEDED, SUCCEEDED)),
]


def test_submits_a_character_with_a_file(client: Client, api: ApiState, tmp_path: Path) -> None:
    path = tmp_path / "dialogues.jsonl"
    path.write_bytes(b'{"messages": []}\n' * 1000)
    uploaded = client.upload_dialogues(path)
    character = client.create_character(CharacterCreate(name="N", profile="P", dialogue_file=uploaded.id))
    job = client.create_job(
        JobCreate(character=character.id, base_model="tiny", hyperparameters=AskedHyperparameters(epochs=2))
    )
    assert (uploaded.bytes, uploaded.filename, uploaded.purpose) == (17_000, "dialogues.jsonl", "fine-tune")
    assert json.loads(api.requests[1].body) == {"name": "N", "profile": "P", "dialogue_file": "file_1"}
    assert json.loads(api.requests[2].body) == {
        "character": "char_1",
        "base_model": "tiny",
        "hyperparameters": {"epochs": 2},
    }
    assert job.character == "char_1"


def test_sends_a_request_id_with_every_call(client: Client, api: ApiState) -> None:
    client.report("job_1")
    client.cancel("job_1")
    ids = [request.headers["x-request-id"] for request in api.requests]
    assert len(set(ids)) == 2
    assert all(len(request_id) == 32 for request_id in ids)


def test_pages_through_jobs_scores_and_events(client: Client, api: ApiState) -> None:
    api.states, api.scores = STATES, make_scores(230)
    assert [job.id for job in client.jobs(120)] == [f"job_{n}" for n in range(120)]
    assert len(list(client.jobs())) == 250
    assert len(list(client.jobs(3))) == 3
    assert list(client.scores("job_1")) == api.scores
    assert [event.id for event in client.events("job_1", after=7)] == list(range(8, 151))
    assert "GET /v1/jobs?limit=3" in api.paths()
    assert "GET /v1/jobs/job_1/scores?limit=100&after=199" in api.paths()


def test_reads_the_report_and_one_job(client: Client, api: ApiState) -> None:
    api.states = STATES
    assert client.report("job_1") == make_report()
    assert client.score_summary("job_1") == make_summary()
    assert client.job("job_1") == STATES[0]


def test_ignores_fields_that_a_newer_server_sends(client: Client, api: ApiState) -> None:
    body = json.loads(STATES[0].model_dump_json()) | {"news": 1}
    body["stages"][0]["news"] = 2
    api.failures.append(lambda: _json_response(body))
    assert client.job("job_1") == STATES[0]


def test_an_answer_that_is_not_the_api_is_named(client: Client, api: ApiState) -> None:
    api.failures.append(lambda: _json_response(["hello"]))
    with pytest.raises(RolekeeperError, match="something else than a Job; check the URL"):
        client.job("job_1")


def test_an_error_says_which_item_and_why(client: Client, api: ApiState) -> None:
    items = (ErrorItem(pointer="/dialogues/3", line=4, detail="has no assistant turn"),)
    api.failures.append(lambda: problem(422, "the dialogues can't be used", items))
    with pytest.raises(ApiError) as caught:
        client.create_character(CharacterCreate(name="N", profile="P", dialogues=()))
    error = caught.value
    assert (error.status, error.code, error.request_id, error.problems) == (422, "some_code", "req-7", items)
    assert str(error).splitlines() == [
        "the dialogues can't be used (HTTP 422, some_code)",
        "  /dialogues/3 (line 4): has no assistant turn",
        "request id: req-7",
    ]
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_error_of_a_proxy_is_readable_too(client: Client, api: ApiState) -> None:
    api.failures.append(lambda: _text_response("<h1>nope</h1>", 403))
    with pytest.raises(ApiError, match=r"<h1>nope</h1> \(HTTP 403"):
        client.cancel("job_1")


def test_reads_are_tried_again_and_writes_are_not(client: Client, api: ApiState) -> None:
    api.states = STATES
    api.failures.extend([lambda: problem(502, "no gateway")] * 2)
    assert client.job("job_1") == STATES[0]
    api.failures.append(lambda: problem(503, "not now"))
    with pytest.raises(ApiError, match="not now"):
        client.cancel("job_1")
    assert len(api.requests) == 4


def test_nobody_there_is_unavailable() -> None:
    with serving(ApiState()) as api:
        url = api.url
    with Client(url, KEY) as client, pytest.raises(Unavailable, match="does not answer"):
        client.cancel("job_1")


@pytest.mark.parametrize(("url", "key"), [("127.0.0.1:1", KEY), ("http://127.0.0.1:1", "ключ"), ("http://x:port", KEY)])
def test_a_url_or_key_that_can_not_be_sent_is_named(url: str, key: str) -> None:
    with pytest.raises(InvalidInput, match="check"), Client(url, key) as client:
        client.cancel("job_1")


def test_wait_tells_every_change_once(client: Client, api: ApiState) -> None:
    api.states = STATES
    seen: list[Job] = []
    assert client.wait("job_1", seen.append, poll_seconds=0.0) == STATES[-1]
    assert seen == STATES
    assert [request.headers.get("if-none-match") for request in api.requests] == [None, '"0"', '"0"', '"1"', '"1"']


def test_wait_survives_failures_and_keeps_to_retry_after(api: ApiState) -> None:
    api.states = STATES
    api.failures.extend([lambda: problem(502, "no gateway"), lambda: problem(503, "busy", retry_after=1)])
    retries: list[tuple[str, float]] = []
    start = time.monotonic()
    with Client(api.url, KEY, on_retry=lambda error, pause: retries.append((error.message, pause))) as client:
        assert client.wait("job_1", poll_seconds=0.0).status == SUCCEEDED
    assert retries == [("no gateway", 0.25), ("busy", 1.0)]
    assert time.monotonic() - start >= 1.25


def test_wait_survives_a_restart_of_the_gateway(api: ApiState) -> None:
    api.states = STATES

    def stop_answering(job: Job) -> None:
        if job == STATES[0]:
            api.failures.extend([_hang_up] * 2)

    with Client(api.url, KEY) as client:
        assert client.wait("job_1", stop_answering, poll_seconds=0.0).status == SUCCEEDED


def test_wait_gives_up_in_the_end(client: Client, api: ApiState, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "WAIT_PATIENCE_SECONDS", 0.3)
    api.failures.extend([lambda: problem(503, "still away")] * 9)
    with pytest.raises(ApiError, match="still away"):
        client.wait("job_1")
    assert len(api.requests) == 2


def test_wait_does_not_wait_for_a_job_that_is_not_there(client: Client, api: ApiState) -> None:
    api.failures.append(lambda: problem(404, "no job job_1"))
    with pytest.raises(ApiError, match="no job job_1"):
        client.wait("job_1")


def _hang_up() -> Response:
    def body() -> Iterator[bytes]:
        yield b"{"
        raise ConnectionAbortedError("cut on command")

    return StreamingResponse(body(), headers={"content-length": "100"})


def _json_response(body: object) -> Response:
    return Response(json.dumps(body), media_type="application/json")


def _text_response(text: str, status: int) -> Response:
    return Response(text, status)
