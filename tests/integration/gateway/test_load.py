"""More requests at once than there are threads and connections: every one is answered."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import anyio.to_thread
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.dialogues import Intake
from gateway.doorway import Doorway
from gateway.settings import Settings
from rolekeeper.jobs import versions
from tests.integration.gateway.calls import LINE, PROFILE, create_job, problem_of
from tests.integration.gateway.conftest import Gateway

NUM_THREADS = 2


async def _take_few_threads() -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = NUM_THREADS


def test_no_request_waits_for_a_connection_that_waits_for_a_thread(
    client: TestClient, database_url: str, redis_url: str, store_dir: Path
) -> None:
    """With one connection and an overflow of one, and as many threads, two that wait for a thread would stop all."""
    settings = Settings(database_url=database_url, redis_url=redis_url, store_dir=store_dir, database_pool_size=1)
    path = f"/v1/jobs/{create_job(client)}"
    with TestClient(create_app(settings), headers=dict(client.headers)) as crowded:
        assert crowded.portal is not None
        crowded.portal.call(_take_few_threads)
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(crowded.get, path) for _ in range(120)]
            statuses = [answer.result().status_code for answer in answers]
    assert statuses == [200] * 120


@pytest.mark.parametrize("path", ["/v1/characters", "/v1/jobs"])
def test_no_connection_is_held_while_a_file_is_read(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Two files are read for as long as a third request takes, with a connection and an overflow of one for all."""
    content = LINE + b"\n" + b" " * 1000
    file = client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", content)}).json()["id"]
    character = client.post("/v1/characters", json={**PROFILE, "dialogue_file": file}).json()["id"]
    method = {"name": "seal", "options": {"safe_file": file}}
    asked = {
        "/v1/characters": {**PROFILE, "dialogue_file": file},
        "/v1/jobs": {"character": character, "base_model": "smollm2-135m", "method": method},
    }
    reading, may_end = threading.Barrier(3), threading.Event()
    take_file = Intake.take_file

    def take_slowly(intake: Intake, source: BinaryIO) -> Iterator[bytes]:
        reading.wait(20)
        may_end.wait(20)
        yield from take_file(intake, source)

    monkeypatch.setattr(Intake, "take_file", take_slowly)
    settings: Settings = app.state.resources.settings.model_copy(update={"database_pool_size": 1})
    with TestClient(create_app(settings), headers=dict(client.headers)) as few, ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(few.post, path, json=asked[path]) for _ in range(2)]
        try:
            reading.wait(20)
            assert few.get("/v1/jobs").status_code == 200
        finally:
            may_end.set()
        assert [answer.result().is_success for answer in answers] == [True, True]


def test_a_burst_is_answered_and_what_is_too_much_is_told_to_come_again(
    client: TestClient, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is inside and does not leave before all others were turned away."""
    path, entered, leave = f"/v1/jobs/{create_job(client)}", threading.Event(), threading.Event()
    job_version = versions.job_version

    def look_slowly(*arguments: Any) -> int:
        entered.set()
        leave.wait(20)
        return job_version(*arguments)

    monkeypatch.setattr(versions, "job_version", look_slowly)
    object.__setattr__(app.state.resources, "doorway", Doorway(num_inside=1, max_wait_seconds=0.2))
    with TestClient(app, headers=dict(client.headers)) as crowded, ThreadPoolExecutor(8) as pool:
        first = pool.submit(crowded.get, path)
        assert entered.wait(20)
        others = [pool.submit(crowded.get, path) for _ in range(20)]
        for other in others:
            answer = other.result()
            assert problem_of(answer, 503).error.code == "overloaded"
            assert answer.headers["retry-after"] == "2"
        assert crowded.get("/readyz").status_code == 200
        leave.set()
        assert first.result().status_code == 200
        assert crowded.get(path).status_code == 200


def test_nobody_is_inside_while_a_body_comes_in(gateway: Gateway) -> None:
    """More clients than may be inside have sent all but the end of their bodies, and the next request is answered."""
    url = gateway.client.base_url
    names = (b"host: x", b"authorization: %s", b"content-type: application/json", b"content-length: 9")
    head = b"\r\n".join([b"POST %s HTTP/1.1", *names, b"", b"{"])
    key = gateway.client.headers["authorization"].encode()
    with contextlib.ExitStack() as stack:
        for path in (b"/v1/jobs", b"/v1/characters"):
            for _ in range(20):
                slow = stack.enter_context(socket.create_connection((url.host, url.port or 0), timeout=30))
                slow.sendall(head % (path, key))
        assert gateway.client.get("/v1/jobs").status_code == 200
