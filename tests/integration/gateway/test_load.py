"""More requests at once than there are threads and connections: every one is answered."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import anyio.to_thread
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.dialogues import Intake
from gateway.settings import Settings
from tests.integration.gateway.calls import LINE, PROFILE, create_job

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
