"""The gateway while Postgres or Redis is away."""

from __future__ import annotations

import time
from pathlib import Path

from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from tests.integration.gateway.calls import CLOSED_REDIS, create_job, problem_of


def test_ready_only_while_postgres_answers(client: TestClient, store_dir: Path) -> None:
    assert client.get("/readyz").json()["ready"] is True
    settings = Settings(
        database_url="postgresql+psycopg://nobody@127.0.0.1:1/none", redis_url=CLOSED_REDIS, store_dir=store_dir
    )
    with TestClient(create_app(settings), headers={"authorization": "Bearer rk_1_2"}) as cut_off:
        assert cut_off.get("/readyz").status_code == 503
        assert cut_off.get("/readyz").json()["checks"]["database"]["ok"] is False
        response = cut_off.get("/v1/jobs")
        assert problem_of(response, 503).error.code == "unavailable"
        assert response.headers["retry-after"] == "2"
        assert "127.0.0.1" not in response.text


def test_a_job_is_taken_in_while_redis_is_away(client: TestClient, database_url: str, store_dir: Path) -> None:
    settings = Settings(database_url=database_url, redis_url=CLOSED_REDIS, store_dir=store_dir)
    with TestClient(create_app(settings), headers=dict(client.headers)) as cut_off:
        started = time.perf_counter()
        path = f"/v1/jobs/{create_job(cut_off)}"
        assert time.perf_counter() - started < 3
    assert client.get(path).json()["status"] == "queued"
