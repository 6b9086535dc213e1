"""The gateway while Postgres or Redis is away."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from fastapi.testclient import TestClient
from sqlalchemy import make_url

from gateway.app import create_app
from gateway.settings import Settings
from local.ports import free_ports
from local.redis_server import RedisServer
from tests.integration.gateway.calls import CLOSED_REDIS, create_job, problem_of
from tests.relay import relaying


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


def test_a_postgres_that_hangs_makes_nobody_wait_without_end(
    client: TestClient, database_url: str, store_dir: Path
) -> None:
    """It holds its connections and says nothing, as a stopped process does."""
    url = make_url(database_url)
    with relaying(url.port or 0) as relay:
        through_it = url.set(port=relay.port).render_as_string(hide_password=False)
        settings = Settings(database_url=through_it, redis_url=CLOSED_REDIS, store_dir=store_dir)
        with TestClient(create_app(settings), headers=dict(client.headers)) as hung:
            assert hung.get("/v1/jobs").status_code == 200
            relay.silent.set()
            assert problem_of(hung.get("/v1/jobs"), 503).error.code == "unavailable"
            relay.silent.clear()
            assert hung.get("/v1/jobs").status_code == 200


def test_a_job_is_taken_in_while_redis_is_away(client: TestClient, database_url: str, store_dir: Path) -> None:
    settings = Settings(database_url=database_url, redis_url=CLOSED_REDIS, store_dir=store_dir)
    with TestClient(create_app(settings), headers=dict(client.headers)) as cut_off:
        started = time.perf_counter()
        path = f"/v1/jobs/{create_job(cut_off)}"
        assert time.perf_counter() - started < 3
    assert client.get(path).json()["status"] == "queued"


def test_a_redis_that_hangs_makes_nobody_wait(
    client: TestClient, database_url: str, store_dir: Path, tmp_path: Path
) -> None:
    """It takes connections and never answers, as a stopped process does."""
    server = RedisServer(tmp_path / "server", free_ports(1)[0], tmp_path / "redis.log")
    server.start()
    settings = Settings(database_url=database_url, redis_url=server.url, store_dir=store_dir)
    try:
        with TestClient(create_app(settings), headers=dict(client.headers)) as hung:
            create_job(hung)
            os.kill(server.process.pid, signal.SIGSTOP)
            started = time.perf_counter()
            paths = [f"/v1/jobs/{create_job(hung)}" for _ in range(5)]
            assert time.perf_counter() - started < 5
            os.kill(server.process.pid, signal.SIGCONT)
        assert {client.get(path).json()["status"] for path in paths} == {"queued"}
    finally:
        server.stop()
