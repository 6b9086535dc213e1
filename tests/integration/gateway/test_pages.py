"""A page of jobs costs the same number of queries however many jobs are on it, and none of them reads the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, text

from rolekeeper.jobs import repository
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.rows import CharacterRow, FileRow, JobRow
from tests.integration.gateway.calls import create_job


@contextmanager
def statements() -> Iterator[list[str]]:
    """All that is asked of Postgres inside the block."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_a_longer_page_asks_no_more_of_postgres(client: TestClient) -> None:
    counts = {}
    for num_jobs in (1, 6):
        ids = [create_job(client) for _ in range(num_jobs)]
        with statements() as asked:
            page = client.get("/v1/jobs", params={"limit": num_jobs}).json()
        assert [job["id"] for job in page["data"]] == ids[::-1]
        assert [[stage["name"] for stage in job["stages"]] for job in page["data"]] == [
            ["score", "train", "evaluate"]
        ] * num_jobs
        counts[num_jobs] = len(asked)
    assert counts[6] == counts[1] <= 5


@pytest.mark.parametrize("table", [FileRow, CharacterRow, JobRow])
def test_a_page_is_read_from_an_index_in_its_order(database: Database, table: Any) -> None:
    with database.transaction() as session:
        session.execute(text("set local enable_seqscan = off"))  # an empty table is not worth an index
        with statements() as asked:
            repository.owned_page(session, table, "platform", None, 20)
        query = asked[0] % {"owner_1": "'platform'", "param_1": "21"}
        plan = "\n".join(session.scalars(text(f"explain {query}")))
    assert f"{table.__tablename__}_owner_number_index" in plan
    assert "Sort" not in plan
