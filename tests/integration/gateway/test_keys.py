"""API keys: who may see what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway import keys
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
