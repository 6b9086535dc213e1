"""Runs the migrations against ROLEKEEPER_DATABASE_URL, in one transaction, one runner at a time."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from migrations.settings import Settings
from rolekeeper.jobs.rows import Row

LOCK = 7253401


def run() -> None:
    """Upgrade or downgrade as the command line says."""
    engine = create_engine(Settings().database_url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Row.metadata, compare_server_default=True)
        with context.begin_transaction():
            # Several replicas may start at once: the second waits, and finds nothing left to do.
            connection.execute(text(f"select pg_advisory_xact_lock({LOCK})"))
            context.run_migrations()


run()
