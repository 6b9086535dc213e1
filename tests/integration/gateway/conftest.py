"""The gateway over HTTP, on a real Postgres, a real Redis and a real artifact store."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from local.ports import HOST, free_ports
from local.settings import child_environment
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs import keys
from rolekeeper.jobs.db import Database


@pytest.fixture
def store_dir(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def app(database_url: str, redis_url: str, store_dir: Path) -> FastAPI:
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        store_dir=store_dir,
        event_poll_seconds=0.05,
        event_heartbeat_seconds=0.2,
    )
    return create_app(settings)


@pytest.fixture
def database(app: FastAPI) -> Database:
    database: Database = app.state.resources.database
    return database


@pytest.fixture
def make_client(app: FastAPI, database: Database) -> Iterator[Callable[..., TestClient]]:
    """Clients that carry a key of an owner, with these scopes if they are named."""

    def make(owner: str, *scopes: Scope) -> TestClient:
        with database.transaction() as session:
            key = keys.create_key(session, owner, scopes or [Scope.WRITE_JOBS])
        return TestClient(app, headers={"authorization": f"Bearer {key}"})

    with TestClient(app):
        yield make


@pytest.fixture
def client(make_client: Callable[[str], TestClient]) -> TestClient:
    return make_client("platform")


WAIT_SECONDS = 60


class Gateway(NamedTuple):
    """The process that operators run, `python -m gateway`, and a client with a key for it."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log_path: Path


@pytest.fixture
def gateway(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Gateway]:
    port = free_ports(1)[0]
    settings = {"database_url": database_url, "redis_url": redis_url, "store_dir": str(tmp_path / "store")}
    timing = {"gateway_port": str(port), "event_poll_seconds": "0.05", "event_heartbeat_seconds": "0.2"}
    environment = child_environment({**settings, **timing})
    made = subprocess.run(
        [sys.executable, "-m", "gateway.keys", "create", "platform"], env=environment, capture_output=True, check=True
    )
    headers = {"authorization": f"Bearer {made.stdout.decode().strip()}"}
    log_path = tmp_path / "gateway.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{HOST}:{port}", headers=headers, timeout=30, trust_env=False) as client:
            wait_until_ready(client, process)
            yield Gateway(process, client, log_path)
    finally:
        process.kill()
        process.wait()


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the gateway did not get ready")
