"""API keys: who may see what."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway import keys
from rolekeeper.jobs.db import Database
from rolekeeper.jobs.keys import create_key
from tests.integration.gateway.calls import (
    CLOSED_REDIS,
    DIALOGUE,
    LINE,
    PROFILE,
    create_character,
    create_job,
    nothing_is_stored,
    problem_of,
    upload,
)


@pytest.mark.parametrize("value", [None, "Basic x", "Bearer ", "Bearer rk_1_2", "Bearer rk", "Bearer \x00"])
def test_no_key(app: FastAPI, store_dir: Path, client: TestClient, value: str | None) -> None:
    headers = {} if value is None else {"authorization": value}
    stranger = TestClient(app, headers=headers)
    for response in (
        stranger.get("/v1/jobs"),
        stranger.post("/v1/characters", json={**PROFILE, "dialogues": [DIALOGUE]}),
        upload(stranger, LINE),
    ):
        assert problem_of(response, 401).error.code == "unauthorized"
        assert response.headers["www-authenticate"] == "Bearer"
    assert nothing_is_stored(client, store_dir)


def test_another_owner_sees_nothing(make_client: Callable[[str], TestClient]) -> None:
    mine, theirs = make_client("platform"), make_client("rival")
    character, job = create_character(mine), create_job(mine)
    file = upload(mine, LINE).json()["id"]
    for path in (
        f"/v1/characters/{character}",
        f"/v1/files/{file}",
        f"/v1/files/{file}/content",
        f"/v1/jobs/{job}",
        f"/v1/jobs/{job}/events",
        f"/v1/jobs/{job}/adapter",
    ):
        assert problem_of(theirs.get(path), 404)
    assert problem_of(theirs.post(f"/v1/jobs/{job}/cancel"), 404)
    order = {"character": character, "base_model": "smollm2-135m"}
    assert character in problem_of(theirs.post("/v1/jobs", json=order), 404).detail
    taken = theirs.post("/v1/characters", json={**PROFILE, "dialogue_file": file})
    assert file in problem_of(taken, 404).detail
    for name in ("files", "characters", "jobs"):
        assert theirs.get(f"/v1/{name}").json()["data"] == []
    assert mine.get(f"/v1/jobs/{job}").json()["status"] == "queued"


def test_two_keys_of_one_owner_see_the_same(make_client: Callable[[str], TestClient]) -> None:
    character = create_character(make_client("platform"))
    assert make_client("platform").get(f"/v1/characters/{character}").status_code == 200


@pytest.fixture
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command reads."""
    for name, value in {"DATABASE_URL": database_url, "REDIS_URL": CLOSED_REDIS, "STORE_DIR": "store"}.items():
        monkeypatch.setenv(f"ROLEKEEPER_{name}", value)


@pytest.mark.usefixtures("settings")
def test_command_lists_and_revokes_keys(app: FastAPI, capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.main(["create", "platform", "--days", "90"]) == 0
    key = capsys.readouterr().out.strip()
    key_id = key.split("_")[1]
    assert keys.main(["create", "rival", "--scope", "audit:read"]) == 0
    auditor = capsys.readouterr().out.strip()
    with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/jobs").status_code == 200
        for _ in range(2):
            assert keys.main(["revoke", key_id]) == 0
        refused = client.get("/v1/jobs")
        posted = client.post("/v1/jobs", json={})
    assert problem_of(refused, 401).detail == "this API key is revoked: ask the operator for a new one"
    assert problem_of(posted, 401)
    capsys.readouterr()
    assert keys.main(["list"]) == 0
    listed = [line.split("\t") for line in capsys.readouterr().out.splitlines() if "\t" in line]
    assert [[row[0], row[1], row[2], row[5]] for row in listed[1:]] == [
        [key_id, "platform", "jobs:write", "revoked"],
        [auditor.split("_")[1], "rival", "audit:read", "valid"],
    ]
    assert (listed[1][4] != "never", listed[2][4]) == (True, "never")
    assert keys.main(["list", "rival"]) == 0
    assert key_id not in capsys.readouterr().out
    assert keys.main(["revoke", "nobody"]) == 1
    assert "there is no key nobody" in capsys.readouterr().err


def test_a_key_ends_by_the_databases_clock_and_its_end_is_told_to_its_holder_only(
    app: FastAPI, database: Database
) -> None:
    with database.transaction() as session:
        key = create_key(session, "platform", lifetime=timedelta(0))
    with TestClient(app) as client:
        answers = [client.get("/v1/jobs", headers={"authorization": f"Bearer {sent}"}) for sent in (key, f"{key}0")]
    expired, unknown = (problem_of(answer, 401).detail for answer in answers)
    assert "is expired" in expired
    assert "is not known" in unknown


@pytest.mark.usefixtures("settings")
def test_the_audit_log_names_who_lost_a_key(app: FastAPI, capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for scope in ("jobs:write", "audit:read"):
        keys.main(["create", "platform", "--scope", scope])
        made.append(capsys.readouterr().out.strip())
    gone = made[0].split("_")[1]
    for _ in range(2):
        keys.main(["revoke", gone])
    with TestClient(app, headers={"authorization": f"Bearer {made[1]}"}) as client:
        entries = client.get("/v1/audit").json()["data"]
    assert [(entry["action"], entry["key_id"]) for entry in entries][:2] == [
        ("key.revoked", gone),
        ("key.created", made[1].split("_")[1]),
    ]


@pytest.mark.parametrize("days", ["0", "-1", "nan", "soon", "99999"])
def test_a_lifetime_that_is_none_is_refused(days: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        keys.main(["create", "platform", "--days", days])


def test_command_makes_a_key(
    app: FastAPI, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"DATABASE_URL": database_url, "REDIS_URL": CLOSED_REDIS, "STORE_DIR": "store"}.items():
        monkeypatch.setenv(f"ROLEKEEPER_{name}", value)
    keys.main(["create", "platform"])
    key = capsys.readouterr().out.strip()
    with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/jobs").status_code == 200
        assert "safety:approve" in problem_of(client.get("/v1/audit"), 403).detail
    keys.main(["create", "platform", "--scope", "safety:approve", "--scope", "audit:read"])
    key = capsys.readouterr().out.splitlines()[-1]  # behind the log of the requests
    with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
        made = client.get("/v1/audit").json()["data"]
    assert [entry["note"] for entry in made] == ["audit:read, safety:approve", "jobs:write"]
    assert made[0]["key_id"] == key.split("_")[1]
    assert key not in str(made)
