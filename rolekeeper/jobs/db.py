"""One transaction per request or step, committed once at its edge; what must follow a commit waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from rolekeeper.jobs.connection import Patience, connect_patiently

AFTER_COMMIT = "after_commit"


class Database:
    """A pool of connections to Postgres. Who gets none within `patience.for_connection` gets SQLAlchemy's TimeoutError.

    A server that does not answer within `patience.for_answer` costs its connection: SQLAlchemy's OperationalError.
    """

    def __init__(self, url: str, pool_size: int = 5, patience: Patience | None = None) -> None:
        patience = patience or Patience()
        self._engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=patience.for_connection,
            pool_pre_ping=True,
            hide_parameters=True,  # dialogues and profiles must not reach a log
            connect_args={"connect_timeout": patience.for_handshake, "options": patience.options},
        )
        connect_patiently(self._engine, patience)
        self._autocommit = self._engine.execution_options(isolation_level="AUTOCOMMIT")

    def session(self) -> Session:
        """A session that connects when it is first used. Whoever opens it ends it: by `finish`, or by closing it."""
        return Session(self._engine, expire_on_commit=False)

    def look(self) -> Session:
        """A session without a transaction, for one read: it costs one message there and back, not three."""
        return Session(self._autocommit)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits when the block ends, and rolls back when it raises."""
        with self.session() as session:
            yield session
            finish(session)

    def ping(self) -> None:
        """Raise unless Postgres answers and the schema is there."""
        with self._engine.connect() as connection:
            connection.execute(text("select version_num from alembic_version"))

    def dispose(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def finish(session: Session) -> None:
    """Commit, let go of the connection, and do what was to follow the commit. Where all is done, it does nothing."""
    session.commit()
    session.close()
    for callback in session.info.pop(AFTER_COMMIT, []):
        callback()


def after_commit(session: Session, callback: Callable[[], None]) -> None:
    """Call `callback` once the session's transaction is committed; never, if it is rolled back."""
    session.info.setdefault(AFTER_COMMIT, []).append(callback)
