"""The gateway over HTTP, on a real Postgres, a real Redis and a real artifact store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.settings import Settings
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
