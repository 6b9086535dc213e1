"""Migrations, on a database that has rows already."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from local.postgres import Postgres
from local.processes import ROOT
from local.settings import child_environment
from rolekeeper.contracts.release import ReleaseStatus, Scope
from rolekeeper.errors import AdapterWithheld
from rolekeeper.jobs import chain, keys, releases, service
from rolekeeper.jobs.db import Database

OLD_ROWS = """
insert into api_key (id, owner, secret_sha256) values ('k1', 'platform', '{secret}');
insert into character (id, owner, name, profile, num_dialogues, num_messages, dialogues_sha256, notes)
    values ('char_1', 'platform', 'Vesna', 'You are Vesna.', 1, 2, '{digest}', '[]');
insert into job (id, owner, character_id, base_model, options, status)
    select id, 'platform', 'char_1', 'tiny', '{options}', status
    from (values ('job_done', 'succeeded'), ('job_same', 'running'), ('job_new', 'running')) as jobs (id, status);
insert into stage (job_id, name, status) select job.id, name, 'succeeded' from job,
    (values ('score'), ('train'), ('evaluate')) as stages (name);
insert into artifact (job_id, kind, sha256, bytes, attempt)
    values ('job_done', 'adapter', '{digest}', 1, 1), ('job_same', 'adapter', '{digest}', 1, 1);
"""
OPTIONS = '{"method": {}, "hyperparameters": {}, "evaluation": {"suite": "starter"}, "files": {}}'


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def engine(empty_url: str) -> Engine:
    return create_engine(empty_url, poolclass=NullPool)


def alembic(url: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "alembic", *arguments]
    environment = child_environment({"database_url": url})
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=120)
    return done.stdout


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_adapters_and_keys_from_before_the_gate_stay_usable(empty_url: str, engine: Engine) -> None:
    alembic(empty_url, "upgrade", "0002")
    secret, digest = "s" * 64, "a" * 64
    with engine.begin() as connection:
        values = {"secret": keys.hash_secret(secret), "digest": digest, "options": OPTIONS}
        connection.exec_driver_sql(OLD_ROWS.format(**values))
    alembic(empty_url, "upgrade", "head")
    database = Database(empty_url)
    with database.transaction() as session:
        assert keys.find_caller(session, f"rk_k1_{secret}").scopes == {Scope.WRITE_JOBS}
        for job_id in ("job_done", "job_same"):
            assert releases.get_open_adapter(session, "platform", job_id).sha256 == digest
        job = service.get_job(session, "platform", "job_done")
        assert job.release is not None
        assert job.release.status == ReleaseStatus.RELEASED
        assert job.release.note == "made before there was a release gate"
        assert service.get_job(session, "platform", "job_new").release is None
    with engine.begin() as connection:
        connection.execute(text("insert into artifact values ('job_new', 'adapter', repeat('b', 64), 1, 1)"))
        connection.execute(text("insert into api_key (id, owner, secret_sha256) values ('k2', 'platform', 'x')"))
    with database.transaction() as session, pytest.raises(AdapterWithheld):
        releases.get_open_adapter(session, "platform", "job_new")
    assert rows(engine, "select scopes from api_key where id = 'k2'") == [(["jobs:write"],)]
    database.dispose()


def test_the_schema_is_that_of_the_rows_and_can_go_back(empty_url: str, engine: Engine) -> None:
    alembic(empty_url, "upgrade", "head")
    assert "No new upgrade operations detected" in alembic(empty_url, "check")
    alembic(empty_url, "downgrade", "0002")
    assert rows(engine, "select to_regclass('audit'), to_regclass('release')") == [(None, None)]
    assert rows(engine, "select proname from pg_proc where proname = 'refuse_change'") == []
    alembic(empty_url, "upgrade", "head")


def test_a_log_from_before_becomes_a_chain_and_goes_on_without_it(empty_url: str, engine: Engine) -> None:
    alembic(empty_url, "upgrade", "0006")
    entry = text("insert into audit (owner, action, note) values ('platform', 'key.created', 'Čapek \\ \"\t')")
    with engine.begin() as connection:
        for _ in range(3):
            connection.execute(entry)
    alembic(empty_url, "upgrade", "head")
    database = Database(empty_url)
    with engine.begin() as connection:
        connection.execute(entry)
    with database.transaction() as session:
        assert chain.verify(session).entry == 4
    database.dispose()
    alembic(empty_url, "downgrade", "0006")
    with engine.begin() as connection:
        connection.execute(entry)
    assert rows(engine, "select array_agg(id order by id) from audit") == [([1, 2, 3, 4, 5],)]
