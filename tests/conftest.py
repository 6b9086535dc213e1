"""Real servers and a real, tiny model for the tests. Nothing of it is left when they end, also after Ctrl-C."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.ports import free_ports
from local.postgres import Postgres
from local.processes import ROOT
from local.redis_server import RedisServer
from local.settings import child_environment
from local.signals import unstoppable

TINY = "tiny"
TEMPLATE = "template_rolekeeper"
# The bytes still reach the kernel, so a killed server loses nothing; only a machine that crashes would.
POSTGRES_OPTIONS = {"fsync": "off", "shared_buffers": "32MB"}


def pytest_configure() -> None:
    """A terminated run tears down as an interrupted one does, and so does one that a shell runs in the background.

    Such a shell has Ctrl-C ignored, and every process that the tests start would ignore it too.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _no_leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set up first, so torn down last: the folder of all temporary files goes."""
    folder = tmp_path_factory.getbasetemp()
    yield
    with unstoppable():
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server with a migrated template database."""
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(folder / "server", free_ports(1)[0], folder / "postgres.log", POSTGRES_OPTIONS)
    try:
        server.start()
        server.create_database(TEMPLATE)
        migrate(server.url(TEMPLATE))
        yield server
    finally:
        with unstoppable():
            server.stop()


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name, template=TEMPLATE)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server."""
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder / "server", free_ports(1)[0], folder / "redis.log")
    try:
        server.start()
        yield server
    finally:
        with unstoppable():
            server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny causal language model with its tokenizer."""
    from tests.tiny import make_tiny_model  # noqa: PLC0415 - most tests need no torch

    return make_tiny_model(tmp_path_factory.mktemp("models") / TINY)


@pytest.fixture(scope="session")
def tiny_catalog(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """An allow-list with the tiny model under the alias `tiny`."""
    from tests.tiny import write_catalog  # noqa: PLC0415 - most tests need no torch

    return write_catalog(tmp_path_factory.mktemp("catalog") / "models.toml", {TINY: tiny_model})


def migrate(database_url: str) -> None:
    """Bring a database to the newest schema, as an operator would."""
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    environment = child_environment({"database_url": database_url})
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
