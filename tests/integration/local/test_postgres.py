"""The embedded PostgreSQL: closed to others, kept between starts, recovered after a crash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.failures import StackFailed
from local.ports import free_ports
from local.postgres import Postgres


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """A folder that no other account may enter, as root's home is."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def server(closed_folder: Path) -> Iterator[Postgres]:
    """A running server."""
    server = make_server(closed_folder)
    server.start()
    yield server
    server.stop()


def make_server(folder: Path) -> Postgres:
    return Postgres(folder / "server", free_ports(1)[0], folder / "postgres.log", {"fsync": "off"})


def connect(server: Postgres, database: str = "rolekeeper") -> psycopg.Connection:
    return psycopg.connect(server.url(database).replace("+psycopg", ""), autocommit=True)


def test_it_runs_unprivileged_in_a_closed_folder(server: Postgres, closed_folder: Path) -> None:
    with connect(server) as connection:
        assert connection.info.server_version >= 180000
    users = {process.uids().effective for process in server.process.family()}
    assert 0 not in users
    assert closed_folder.stat().st_mode & 0o077 == 0
    assert (closed_folder / "server").stat().st_mode & 0o077 == 0
    assert os.geteuid() in users or os.geteuid() == 0


def test_it_needs_its_password(server: Postgres) -> None:
    url = server.url().replace("+psycopg", "")
    password = url.split(":")[2].split("@")[0]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace(password, "wrong"))


def test_what_is_committed_survives_an_immediate_restart(server: Postgres) -> None:
    with connect(server) as connection:
        connection.execute("create table kept (id int)")
        connection.execute("insert into kept values (1)")
        server.restart_immediately()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    with connect(server) as connection:
        assert connection.execute("select id from kept").fetchall() == [(1,)]


def test_data_is_kept_between_starts(server: Postgres, closed_folder: Path) -> None:
    with connect(server) as connection:
        connection.execute("create table kept (id int)")
    server.stop()
    again = make_server(closed_folder)
    again.start()
    with connect(again) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)
    again.stop()


def test_databases_are_copied_and_dropped_while_used(server: Postgres) -> None:
    with connect(server) as connection:
        connection.execute("create table kept (id int)")
    server.create_database("copy", template="rolekeeper")
    with connect(server, "copy") as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)
        server.drop_database("copy")


def test_an_interrupted_cluster_is_not_used(closed_folder: Path) -> None:
    (closed_folder / "server" / "data.draft").mkdir(parents=True)
    (closed_folder / "server" / "data.draft" / "PG_VERSION").write_text("18")
    server = make_server(closed_folder)
    server.start()
    server.stop()


def test_data_of_another_version_is_refused_with_the_reason(server: Postgres, closed_folder: Path) -> None:
    server.stop()
    (closed_folder / "server" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StackFailed, match="initialized by PostgreSQL version 12"):
        make_server(closed_folder).start()
