"""Calls that most tests of the gateway make, and what they look at afterwards."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import redis
from fastapi.testclient import TestClient

from rolekeeper.contracts.problems import Problem

CLOSED_REDIS = "redis://127.0.0.1:1/0"
PROFILE = {"name": "Vesna", "profile": "You are Vesna, who keeps a lighthouse."}
USER = {"role": "user", "content": "Who keeps the light?"}
ASSISTANT = {"role": "assistant", "content": "I do, every night."}
SYSTEM = {"role": "system", "content": "You are somebody else."}
DIALOGUE: dict[str, Any] = {"messages": [USER, ASSISTANT]}
LINE = json.dumps(DIALOGUE).encode()


def hint_of(queue: redis.Redis, path: str) -> dict[str, Any]:
    """The message that tells the conductor of a job, once it is there: hints are sent behind the answers."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        messages = [json.loads(message) for message in queue.lrange("rolekeeper:conductor", 0, -1)]
        for message in messages:
            if path.rpartition("/")[2] in message["headers"]["argsrepr"]:
                found: dict[str, Any] = message
                return found
        time.sleep(0.02)
    raise AssertionError(f"there is no hint of {path}")


def kept(folder: Path) -> list[Path]:
    """Every file of the artifact store, half-written ones too."""
    return [path for path in folder.rglob("*") if path.is_file()]


def nothing_is_stored(client: TestClient, store_dir: Path) -> bool:
    lists = [client.get(f"/v1/{name}").json()["data"] for name in ("files", "characters", "jobs")]
    return not any(lists) and not kept(store_dir)


def problem_of(response: Any, status: int) -> Problem:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return Problem.model_validate(response.json())


def upload(client: TestClient, content: bytes, **form: Any) -> Any:
    files = {"file": (form.pop("filename", "vesna.jsonl"), content)}
    return client.post("/v1/files", files=files, data={"purpose": "fine-tune", **form})


def create_character(client: TestClient, dialogues: list[Any] | None = None) -> str:
    response = client.post("/v1/characters", json={**PROFILE, "dialogues": dialogues or [DIALOGUE]})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def create_job(client: TestClient) -> str:
    response = client.post("/v1/jobs", json={"character": create_character(client), "base_model": "smollm2-135m"})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])
