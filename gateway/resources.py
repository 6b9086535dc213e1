"""What the routes work with, made once per process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.doorway import Doorway
from gateway.hinting import HintSender
from gateway.polls import Polls
from gateway.quotas import Quotas, load_quotas
from gateway.readings import Readings
from gateway.settings import Settings
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.policy import Policy
from rolekeeper.jobs.connection import Patience
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.queue import Hints
from rolekeeper.lm.catalog import ModelEntry, load_catalog
from rolekeeper.policy import load_policy
from rolekeeper.suites.catalog import SuiteEntry, load_entries

DATABASE_PATIENCE_SECONDS = (2.0, 6.0)
"""For a connection, and for an answer: who waits holds one of the threads that requests are answered in. Then the
answer is a 503. Both, and a handshake of 2 s, fit into the 10 s in which every request is answered."""


@dataclass(frozen=True)
class Resources:
    """Database, store and queue, what the operator allows and asks for, and who is inside."""

    settings: Settings
    database: Database
    store: Store
    hints: HintSender
    catalog: Mapping[str, ModelEntry]
    policy: Policy
    quotas: Quotas
    suites: Mapping[str, SuiteEntry]
    doorway: Doorway
    polls: Polls
    readings: Readings = field(default_factory=Readings)

    def close(self) -> None:
        """Close all connections."""
        self.hints.close()
        self.database.dispose()


def open_resources(settings: Settings) -> Resources:
    """Return the resources. Nothing connects before it is used, so the process starts while Postgres is away."""
    database = Database(settings.database_url, settings.database_pool_size, Patience(*DATABASE_PATIENCE_SECONDS))
    return Resources(
        settings=settings,
        database=database,
        store=Store(settings.store_dir),
        hints=HintSender(Hints(settings.redis_url)),
        catalog=load_catalog(settings.models),
        policy=load_policy(settings.gate_policy).policy,
        quotas=load_quotas(settings.quotas),
        suites=load_entries(),
        # Who is inside finds a connection that is open: to open one costs more than all that is done with it.
        doorway=Doorway(settings.database_pool_size),
        polls=Polls(database),
    )
