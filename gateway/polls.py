"""Polls of jobs that have not changed, which are most of all requests: one look at Postgres answers all of a moment.

Only a 304 is answered here. Whatever else there is to say, an error too, the route says in its own way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from rolekeeper.contracts.release import Scope
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.keys import find_callers
from rolekeeper.jobs.versions import job_versions

READERS = frozenset({Scope.WRITE_JOBS, Scope.APPROVE})


class Poll(NamedTuple):
    """Who asks for which job."""

    key: str
    job_id: str


Waiting = tuple[Poll, asyncio.Future[int | None]]


class Polls:
    """Gathers polls while one look is under way, for the next. Used by the event loop's thread only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Waiting] = []
        self._looking: asyncio.Task[None] | None = None

    async def version(self, poll: Poll) -> int | None:
        """The job's version, if there is one that this key may read, and Postgres answers."""
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((poll, answer))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return await answer

    async def _look(self) -> None:
        try:
            while self._waiting:
                gathered, self._waiting = self._waiting, []
                await self._answer(gathered)
        finally:
            self._looking = None

    async def _answer(self, gathered: Sequence[Waiting]) -> None:
        found: Mapping[Poll, int] = {}
        try:
            with contextlib.suppress(SQLAlchemyError):
                found = await run_in_threadpool(self._find, {poll for poll, _ in gathered})
        finally:
            for poll, answer in gathered:
                if not answer.done():  # whoever asked may have gone
                    answer.set_result(found.get(poll))

    def _find(self, polls: Iterable[Poll]) -> dict[Poll, int]:
        with self._database.look() as session:
            callers = find_callers(session, {poll.key for poll in polls})
            readers = {key: caller.owner for key, caller in callers.items() if not caller.scopes.isdisjoint(READERS)}
            allowed = [poll for poll in polls if poll.key in readers]
            versions = job_versions(session, sorted({poll.job_id for poll in allowed}))
        keyed = ((poll, (readers[poll.key], poll.job_id)) for poll in allowed)
        return {poll: versions[wanted] for poll, wanted in keyed if wanted in versions}
