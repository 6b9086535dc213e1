"""Polls of unchanged jobs: answered together, and to nobody who may not read the job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.polls import Polls
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs import keys
from rolekeeper.jobs.db import Database
from tests.integration.gateway.calls import create_job, problem_of


def poll(client: TestClient, job_id: str, etag: str) -> Any:
    return client.get(f"/v1/jobs/{job_id}", headers={"if-none-match": etag})


@pytest.fixture
def job(client: TestClient) -> tuple[str, str]:
    """A job, and the ETag that it has now."""
    job_id = create_job(client)
    return job_id, client.get(f"/v1/jobs/{job_id}").headers["etag"]


def test_an_unchanged_job_is_a_304_and_a_changed_one_is_told(client: TestClient, job: tuple[str, str]) -> None:
    job_id, etag = job
    for known in (etag, f"W/{etag}", f'"no", {etag}', "*"):
        unchanged = poll(client, job_id, known)
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert (unchanged.headers["etag"], unchanged.headers["cache-control"]) == (etag, "private, no-cache")
    client.post(f"/v1/jobs/{job_id}/cancel")
    changed = poll(client, job_id, etag)
    assert changed.status_code == 200
    assert changed.json()["status"] == "cancelled"
    assert poll(client, job_id, changed.headers["etag"]).status_code == 304


def test_nobody_learns_of_a_job_that_is_not_theirs_to_read(
    make_client: Callable[..., TestClient], job: tuple[str, str], database: Database
) -> None:
    job_id, etag = job
    for known in (etag, "*"):
        problem_of(poll(make_client("rival"), job_id, known), 404)
        problem_of(poll(make_client("platform", Scope.READ_AUDIT), job_id, known), 403)
        assert poll(make_client("platform", Scope.APPROVE), job_id, known).status_code == 304
    client = make_client("platform")
    with database.transaction() as session:
        keys.revoke_key(session, client.headers["authorization"].split("_")[1])
    problem_of(poll(client, job_id, etag), 401)


@pytest.mark.parametrize(
    ("key", "job_id", "status"),
    [("rk_1_2", "job_1", 401), ("rk_%00_2", "job_1", 401), ("sk-1", "job_1", 401), ("", "job_1", 401)],
)
def test_what_is_wrong_is_told_as_without_an_etag(
    make_client: Callable[..., TestClient], key: str, job_id: str, status: int
) -> None:
    client = make_client("platform")
    client.headers["authorization"] = f"Bearer {key}"
    problem_of(poll(client, job_id, '"1"'), status)


@pytest.mark.parametrize("job_id", ["job%00", "a" * 65, "%C4%8D", "job 1", "nobody"])
def test_an_id_that_is_none_is_told_as_without_an_etag(client: TestClient, job_id: str) -> None:
    assert poll(client, job_id, "*").status_code == client.get(f"/v1/jobs/{job_id}").status_code


def test_those_who_ask_while_a_look_is_on_are_answered_by_the_next(
    app: FastAPI, client: TestClient, job: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, etag = job
    looks: list[int] = []
    entered, leave = threading.Event(), threading.Event()
    find = Polls._find

    def look_slowly(polls: Polls, asked: Any) -> Any:
        looks.append(len(asked))
        entered.set()
        leave.wait(20)
        return find(polls, asked)

    monkeypatch.setattr(Polls, "_find", look_slowly)
    with TestClient(app, headers=dict(client.headers)) as together, ThreadPoolExecutor(30) as pool:
        first = pool.submit(poll, together, job_id, etag)
        assert entered.wait(20)
        others = [pool.submit(poll, together, job_id, etag) for _ in range(29)]
        polls = app.state.resources.polls
        while len(polls._waiting) < 29:
            assert not first.done()
        leave.set()
        assert {answer.result().status_code for answer in (first, *others)} == {304}
    assert looks == [1, 1]  # of one key and one job, so one question each


def test_without_postgres_a_poll_is_told_so(
    app: FastAPI, client: TestClient, job: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.state.resources.polls, "_database", Database("postgresql+psycopg://nobody@127.0.0.1:1/no"))
    assert poll(client, *job).status_code == 304  # by the route's own look
