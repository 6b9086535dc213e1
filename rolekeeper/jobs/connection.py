"""A connection to Postgres that waits for no answer without end.

The server ends statements that take too long. It can't where it hangs itself, or where the network drops what it says.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from sqlalchemy import Dialect, Engine, event

Answer = TypeVar("Answer")


class Patience(NamedTuple):
    """How long a process waits for Postgres, in seconds."""

    for_connection: float = 30.0
    """For one of the pool's connections, while others hold them all."""

    for_answer: float = 40.0
    """For the answer to one statement, after which its connection is given up."""

    @property
    def options(self) -> str:
        """The server's own limits, of a statement and of a lock. They come first, as the connection outlives them."""
        limits = {"statement_timeout": 0.75, "lock_timeout": 0.25}
        return " ".join(f"-c {name}={round(1000 * share * self.for_answer)}" for name, share in limits.items())

    @property
    def for_handshake(self) -> int:
        """The limit of opening a connection: whole seconds, as libpq takes no others, and no fewer than its two."""
        return max(2, min(5, round(0.25 * self.for_answer)))


class PatientConnection(Connection[TupleRow]):
    """A connection that closes itself when the server says nothing for too long."""

    patience = Patience()

    def wait(self, gen: PQGen[Answer], interval: float = 0.1, timeout: float | None = None) -> Answer:
        """Wait for an answer. Raises OperationalError if none came in time; the connection is closed then."""
        try:
            return super().wait(gen, interval, self.patience.for_answer if timeout is None else timeout)
        except OperationalError:
            # An error of the server's leaves the connection idle. Here it still owes an answer, and may commit yet.
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def connect_patiently(engine: Engine, patience: Patience) -> None:
    """Have the engine open connections of this kind."""

    def connect(_dialect: Dialect, _record: object, arguments: list[Any], named: dict[str, Any]) -> PatientConnection:
        connection = PatientConnection.connect(*arguments, **named)
        connection.patience = patience
        return connection

    event.listen(engine, "do_connect", connect)
