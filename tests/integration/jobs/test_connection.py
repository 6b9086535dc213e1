"""Connections to a real Postgres that falls silent, or takes too long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from rolekeeper.jobs.connection import Patience
from rolekeeper.jobs.db import Database
from tests.relay import Relay, relaying

PATIENCE = Patience(for_answer=1.0)
BACKEND = text("select pg_backend_pid()")


@pytest.fixture
def relay(database_url: str) -> Iterator[Relay]:
    port = make_url(database_url).port
    assert port is not None
    with relaying(port) as relay:
        yield relay


@pytest.fixture
def database(database_url: str, relay: Relay) -> Iterator[Database]:
    through_it = make_url(database_url).set(port=relay.port).render_as_string(hide_password=False)
    opened = Database(through_it, pool_size=1, patience=PATIENCE)
    yield opened
    relay.silent.clear()
    opened.dispose()


def backend(database: Database) -> int:
    with database.transaction() as session:
        return int(session.execute(BACKEND).scalar_one())


def test_a_server_that_falls_silent_in_a_transaction_is_given_up(database: Database, relay: Relay) -> None:
    """Without a limit of its own, the client would wait here for as long as the server is silent."""
    with pytest.raises(OperationalError), database.transaction() as session:
        first = int(session.execute(BACKEND).scalar_one())
        relay.silent.set()
        session.execute(BACKEND)
    relay.silent.clear()
    assert backend(database) != first  # whatever the old connection still says, nobody hears it


def test_a_server_that_is_silent_is_not_waited_for_when_a_connection_is_opened(
    database: Database, relay: Relay
) -> None:
    backend(database)
    relay.silent.set()
    with pytest.raises(OperationalError):
        backend(database)
    relay.silent.clear()
    assert backend(database)


def test_the_servers_own_limit_comes_first_and_keeps_the_connection(database: Database) -> None:
    first = backend(database)
    with pytest.raises(OperationalError, match="statement timeout"), database.transaction() as session:
        session.execute(text("select pg_sleep(30)"))
    assert backend(database) == first


def test_the_default_limits_are_the_documented_ones() -> None:
    assert Patience().options == "-c statement_timeout=30000 -c lock_timeout=10000"
    assert Patience().for_handshake == 5
