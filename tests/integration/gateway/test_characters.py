"""Characters: what is kept, and how they are listed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi.testclient import TestClient

from rolekeeper.contracts.characters import Dialogue
from tests.integration.gateway.calls import (
    ASSISTANT,
    DIALOGUE,
    LINE,
    PROFILE,
    SYSTEM,
    USER,
    create_character,
    kept,
    upload,
)


def test_inline_dialogues_are_kept_canonically(client: TestClient, store_dir: Path) -> None:
    with_system = {"messages": [SYSTEM, USER, ASSISTANT]}
    greeting_first = {"messages": [ASSISTANT, USER, {"role": "assistant", "content": "Ask again. 🕯"}]}
    body = {**PROFILE, "dialogues": [DIALOGUE, with_system, greeting_first]}
    response = client.post("/v1/characters", json=body)
    assert response.status_code == 201
    character = response.json()
    assert response.headers["location"] == f"/v1/characters/{character['id']}"
    assert (character["num_dialogues"], character["num_messages"]) == (3, 7)
    assert any(note.startswith("1 system message") for note in character["notes"])
    assert any(note.startswith("1 dialogue(s) are exact copies") for note in character["notes"])
    (path,) = kept(store_dir)
    lines = path.read_bytes().splitlines()
    assert path.name == character["dialogues_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert lines[0] == lines[1] == Dialogue.model_validate(DIALOGUE).model_dump_json().encode()
    assert client.get(f"/v1/characters/{character['id']}").json() == character


def test_dialogue_file(client: TestClient) -> None:
    content = b"\xef\xbb\xbf" + LINE + b"\r\n\n" + LINE
    file = upload(client, content).json()
    response = client.post("/v1/characters", json={**PROFILE, "dialogue_file": file["id"]})
    assert response.status_code == 201
    inline = client.post("/v1/characters", json={**PROFILE, "dialogues": [DIALOGUE] * 2}).json()
    assert response.json()["dialogues_sha256"] == inline["dialogues_sha256"]
    notes = " ".join(response.json()["notes"])
    assert "byte order mark" in notes
    assert "1 blank line(s)" in notes


def test_pages(client: TestClient) -> None:
    ids = [create_character(client) for _ in range(3)]
    first = client.get("/v1/characters", params={"limit": 2}).json()
    assert [item["id"] for item in first["data"]] == [ids[2], ids[1]]
    assert first["has_more"] is True
    second = client.get("/v1/characters", params={"limit": 2, "after": ids[1]}).json()
    assert [item["id"] for item in second["data"]] == [ids[0]]
    assert second["has_more"] is False
