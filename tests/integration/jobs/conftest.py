"""A database of its own for each test, and jobs in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rolekeeper.contracts.artifacts import Artifact
from rolekeeper.contracts.jobs import JobCreate
from rolekeeper.jobs import service
from rolekeeper.jobs.db import Database

OWNER = "platform"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open, empty, migrated database."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


def queue_job(database: Database, owner: str = OWNER) -> str:
    """A queued job of a small character; gives its id."""
    with database.transaction() as session:
        dialogues = Artifact(sha256="a" * 64, bytes=10)
        new = service.NewCharacter("Vesna", "You are Vesna.", dialogues, num_dialogues=2, num_messages=4)
        character = service.create_character(session, owner, new)
        order = JobCreate(character=character.id, base_model="tiny")
        return service.create_job(session, owner, order, request_id="req-1").id
