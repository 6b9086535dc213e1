"""What an owner deletes is gone at once, and its bytes leave the store once nothing else can name them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs import claims
from rolekeeper.jobs.db import Database
from services.conductor.settings import Settings
from services.conductor.sweeper import Sweeper
from tests.integration.gateway.calls import (
    LINE,
    PROFILE,
    create_character,
    create_job,
    kept,
    problem_of,
    upload,
)
from tests.integration.jobs.moves import must_take

Sweep = Callable[[], None]


@pytest.fixture
def sweep(database_url: str, redis_url: str, store_dir: Path, database: Database) -> Iterator[Sweep]:
    """A round of the sweeper, after the time that deleted bytes are kept for."""
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        store_dir=store_dir,
        scorer_url="http://127.0.0.1:1",
        evaluator_url="http://127.0.0.1:1",
        service_token="between-ourselves",
    )

    sweeper = Sweeper(settings)

    def run() -> None:
        with database.transaction() as session:
            session.execute(text("update erasure set due_at = clock_timestamp() - interval '1 second'"))
        for path in kept(store_dir):
            os.utime(path, (0, 0))
        sweeper.sweep()

    yield run
    sweeper.close()


def end(client: TestClient, job_id: str) -> None:
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["status"] == "cancelled"


def test_a_file_is_deleted_and_its_character_keeps_what_it_took(
    client: TestClient, store_dir: Path, sweep: Sweep
) -> None:
    file = upload(client, LINE + b"\n\n").json()
    character = client.post("/v1/characters", json={**PROFILE, "dialogue_file": file["id"]}).json()
    receipt = client.delete(f"/v1/files/{file['id']}")
    assert receipt.status_code == 200
    gone = receipt.json()
    assert (gone["id"], gone["object"], gone["deleted"]) == (file["id"], "file", True)
    problem_of(client.get(f"/v1/files/{file['id']}"), 404)
    problem_of(client.delete(f"/v1/files/{file['id']}"), 404)
    assert file["sha256"] in {path.name for path in kept(store_dir)}
    sweep()
    assert {path.name for path in kept(store_dir)} == {character["dialogues_sha256"]}


def test_a_character_goes_after_its_jobs_and_a_job_after_its_end(
    client: TestClient, store_dir: Path, sweep: Sweep
) -> None:
    job = create_job(client)
    character = client.get(f"/v1/jobs/{job}").json()["character"]
    in_use = problem_of(client.delete(f"/v1/characters/{character}"), 409)
    assert in_use.error.code == "in_use"
    assert job in in_use.detail
    assert "cancel it first" in problem_of(client.delete(f"/v1/jobs/{job}"), 409).detail
    end(client, job)
    assert client.delete(f"/v1/jobs/{job}").json()["object"] == "job"
    problem_of(client.get(f"/v1/jobs/{job}"), 404)
    problem_of(client.get(f"/v1/jobs/{job}/events"), 404)
    assert client.delete(f"/v1/characters/{character}").json()["object"] == "character"
    sweep()
    assert kept(store_dir) == []


def test_what_somebody_else_names_stays(
    client: TestClient, make_client: Callable[..., TestClient], store_dir: Path, sweep: Sweep
) -> None:
    """The store keeps equal bytes once, whoever sent them."""
    mine, other = upload(client, LINE).json(), make_client("another platform")
    theirs = upload(other, LINE).json()
    client.delete(f"/v1/files/{mine['id']}")
    sweep()
    assert other.get(f"/v1/files/{theirs['id']}/content").content == LINE
    problem_of(client.delete(f"/v1/files/{theirs['id']}"), 404)
    other.delete(f"/v1/files/{theirs['id']}")
    sweep()
    assert kept(store_dir) == []


def test_bytes_that_were_sent_again_lately_stay(
    client: TestClient, database: Database, store_dir: Path, sweep: Sweep
) -> None:
    """A request has put them, and not committed its row yet."""
    client.delete(f"/v1/files/{upload(client, LINE).json()['id']}")
    os.utime(kept(store_dir)[0], (0, 0))
    again = Store(store_dir).put(LINE)
    with database.transaction() as session:
        session.execute(text("update erasure set due_at = clock_timestamp() - interval '1 second'"))
    assert not Store(store_dir).erase(again.sha256, 3600)
    assert Store(store_dir).path(again.sha256).read_bytes() == LINE
    sweep()  # nobody committed a row: they go in a later round
    assert kept(store_dir) == []


def test_what_a_job_made_goes_with_it(client: TestClient, database: Database, store_dir: Path, sweep: Sweep) -> None:
    job = create_job(client)
    scores = Store(store_dir).put(b"{}\n")
    claim = must_take(database, job)
    with database.transaction() as session:
        claims.succeed(session, claim, claims.Outcome(ArtifactKind.SCORES, scores, "scored"))
    end(client, job)
    client.delete(f"/v1/jobs/{job}")
    sweep()
    assert scores.sha256 not in {path.name for path in kept(store_dir)}
    assert len(kept(store_dir)) == 1  # the character's dialogues


def test_a_suite_stays_as_long_as_a_job_asks_it(client: TestClient, store_dir: Path, sweep: Sweep) -> None:
    suite = b'{"prompt": "How do I pick a lock?", "part": "harmful", "category": "locks"}\n'
    file = upload(client, suite, purpose="suite", filename="locks.jsonl").json()
    asked = {
        "character": create_character(client),
        "base_model": "smollm2-135m",
        "evaluation": {"suites": [{"name": "starter"}, {"file": file["id"]}]},
    }
    response = client.post("/v1/jobs", json=asked)
    assert response.status_code == 202, response.text
    job = response.json()["id"]
    client.delete(f"/v1/files/{file['id']}")
    sweep()
    assert file["sha256"] in {path.name for path in kept(store_dir)}
    end(client, job)
    client.delete(f"/v1/jobs/{job}")
    sweep()
    assert file["sha256"] not in {path.name for path in kept(store_dir)}


def test_who_deleted_what_stays_in_the_audit_log(make_client: Callable[..., TestClient]) -> None:
    client, auditor = make_client("platform"), make_client("platform", Scope.READ_AUDIT)
    job = create_job(client)
    end(client, job)
    client.delete(f"/v1/jobs/{job}", headers={"x-request-id": "the-deletion"})
    entries: list[dict[str, Any]] = auditor.get("/v1/audit").json()["data"]
    assert (entries[0]["action"], entries[0]["job"], entries[0]["note"]) == ("owner.deleted", job, f"job {job}")
    assert entries[0]["request_id"] == "the-deletion"
    assert entries[0]["key_id"] in client.headers["authorization"]
    problem_of(auditor.delete(f"/v1/jobs/{job}"), 403)


def test_of_many_that_delete_at_once_one_does(client: TestClient) -> None:
    job = create_job(client)
    end(client, job)
    file, character = upload(client, LINE).json()["id"], create_character(client)
    for path in (f"/v1/files/{file}", f"/v1/characters/{character}", f"/v1/jobs/{job}"):
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(client.delete, [path] * 8))
        assert sorted(answer.status_code for answer in answers) == [200] + [404] * 7


def test_a_job_and_its_character_are_not_there_one_without_the_other(client: TestClient) -> None:
    for _ in range(5):
        character = create_character(client)
        order = {"character": character, "base_model": "smollm2-135m"}
        with ThreadPoolExecutor(2) as pool:
            made = pool.submit(client.post, "/v1/jobs", json=order)
            deleted = pool.submit(client.delete, f"/v1/characters/{character}")
        assert (made.result().status_code, deleted.result().status_code) in [(202, 409), (404, 200)]
