"""The sweeper: gives back what lost workers held, and sends hints again that got lost."""

from __future__ import annotations

import structlog
from sqlalchemy.orm import Session

from rolekeeper.artifacts.store import Store
from rolekeeper.jobs import erasures, sweeps
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.erasures import KEEP_SECONDS
from rolekeeper.jobs.queue import Hints
from services.conductor.settings import Settings

RESEND_SWEEPS = 3
LEFT_BEHIND_SECONDS = 86_400.0
"""Nobody writes one artifact for so long."""


class Sweeper:
    """Makes one round after another. Any number of them may run at once: without their rounds nothing heals."""

    def __init__(self, settings: Settings) -> None:
        self._database = Database(settings.database_url, pool_size=1)
        self._hints = Hints(settings.redis_url)
        self._store = Store(settings.store_dir)
        self._seconds = settings.sweep_seconds

    def close(self) -> None:
        """Close all connections."""
        self._hints.close()
        self._database.dispose()

    def sweep(self) -> None:
        """One round: leases first, then deadlines, then hints, then files."""
        with self._database.transaction() as session:
            expired = sweeps.expired(session)
        for job_id in expired:
            with self._database.transaction() as session:
                sweeps.heal(session, job_id)
            structlog.get_logger().warning("lease ran out", job_id=job_id)
        with self._database.transaction() as session:
            overdue = sweeps.overdue(session)
        for job_id in overdue:
            with self._database.transaction() as session:
                sweeps.end_overdue(session, job_id)
            structlog.get_logger().warning("deadline is over", job_id=job_id)
        for stages, num_messages in self._hints.num_messages().items():
            with self._database.transaction() as session:
                due = sweeps.due_hints(session, stages, num_messages, RESEND_SWEEPS * self._seconds)
            for hint in due:
                self._hints.send(hint.stage, hint.job_id, hint.request_id)
        with self._database.transaction() as session:
            self._erase(session)
        if num_left := self._store.sweep(LEFT_BEHIND_SECONDS):
            structlog.get_logger().warning("removed what was left of artifacts", num_files=num_left)

    def _erase(self, session: Session) -> None:
        """Remove bytes whose rows were deleted. Those that were put again lately wait as long as the others did."""
        if not (due := erasures.due(session)):
            return
        named = erasures.named(session, due)
        erased = {digest for digest in due if digest not in named and self._store.erase(digest, KEEP_SECONDS)}
        erasures.forget(session, sorted(named | erased))
        erasures.plan(session, sorted(set(due) - named - erased))
        if erased:
            structlog.get_logger().info("erased artifacts", num_files=len(erased))
