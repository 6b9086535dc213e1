"""Everything that can be wrong with dialogues and characters: a 4xx that says what and where, and nothing stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.integration.gateway.calls import (
    ASSISTANT,
    DIALOGUE,
    LINE,
    PROFILE,
    SYSTEM,
    USER,
    nothing_is_stored,
    problem_of,
    upload,
)


def turns(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


BAD_DIALOGUES: list[tuple[Any, str, str]] = [
    (turns(USER), "/messages", "no assistant turn"),
    (turns(), "/messages", "at least 1"),
    (turns(SYSTEM), "/messages", "no assistant turn"),
    (turns(USER, ASSISTANT, USER), "/messages/2", "last turn"),
    (turns(ASSISTANT), "/messages", "no user turn"),
    (turns(USER, SYSTEM, ASSISTANT), "/messages/1", "system message after the first turn"),
    (turns({"role": "narrator", "content": "x"}, ASSISTANT), "/messages/0/role", "'user' or 'assistant'"),
    (turns({"role": "user", "content": " \n\t"}, ASSISTANT), "/messages/0/content", "blank"),
    (turns({"role": "user", "content": ""}, ASSISTANT), "/messages/0/content", "empty"),
    (turns({"role": "user", "content": None}, ASSISTANT), "/messages/0/content", "text"),
    (turns({"role": "user", "content": "a\0b"}, ASSISTANT), "/messages/0/content", "NUL"),
    (turns({"role": "user", "content": "a\ud800b"}, ASSISTANT), "/messages/0/content", "surrogate"),
    (turns({"role": "user", "content": "x" * 100_001}, ASSISTANT), "/messages/0/content", "100000"),
    (turns({**USER, "weight": 1}, ASSISTANT), "/messages/0/weight", "not a field"),
    (turns(*[{**USER, "content": "x" * 90_000}] * 3, ASSISTANT), "", "262144"),
    ({"turns": []}, "/messages", "missing"),
    ("hello", "", "dictionary"),
]


@pytest.mark.parametrize(("dialogue", "pointer", "words"), BAD_DIALOGUES)
def test_bad_dialogue_in_json(client: TestClient, store_dir: Path, dialogue: Any, pointer: str, words: str) -> None:
    body = json.dumps({**PROFILE, "dialogues": [DIALOGUE, dialogue]})
    response = client.post("/v1/characters", content=body, headers={"content-type": "application/json"})
    problem = problem_of(response, 422)
    assert problem.errors[0].pointer == "/dialogues/1" + pointer
    assert words in problem.errors[0].detail
    assert words in problem.detail
    assert nothing_is_stored(client, store_dir)


@pytest.mark.parametrize(("dialogue", "pointer", "words"), BAD_DIALOGUES)
def test_bad_dialogue_in_jsonl(client: TestClient, store_dir: Path, dialogue: Any, pointer: str, words: str) -> None:
    response = upload(client, LINE + b"\n\n" + json.dumps(dialogue).encode() + b"\n" + LINE)
    problem = problem_of(response, 422)
    assert (problem.errors[0].line, problem.errors[0].pointer) in {(3, pointer), (3, "")}
    assert "line 3" in problem.detail
    assert nothing_is_stored(client, store_dir)


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", None, "holds no dialogue"),
        (b"\n \n", None, "holds no dialogue"),
        (LINE + b"\n{oops}", 2, "byte 1 of the line"),
        (LINE + b'\n{"messages": "caf\xe9"}', 2, f"byte {17} of the line, byte {len(LINE) + 1 + 17} of the file"),
        (LINE + b'\n{"messages": "caf\xe9"}', 2, "not valid UTF-8 (0xe9)"),
        (json.dumps([DIALOGUE], indent=1).encode(), 1, "one whole JSON object"),
        (b"[" * 5000, 1, "nested too deeply"),
        (LINE + b"\n" + b"x" * 10_000_000 + b"\n" + LINE, 2, "longer than 262144 bytes"),
        (LINE + b"\n" + b'{"a": NaN}', 2, "NaN is not a JSON number"),
        ("\ufeff".encode("utf-16") + LINE, 1, "not valid UTF-8"),
    ],
)
def test_bad_file(client: TestClient, store_dir: Path, content: bytes, line: int | None, words: str) -> None:
    problem = problem_of(upload(client, content), 422)
    assert problem.errors[0].line == line
    assert words in problem.errors[0].detail
    assert nothing_is_stored(client, store_dir)


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({**PROFILE, "dialogues": []}, "/dialogues", "holds no dialogue"),
        (PROFILE, "/dialogues", "exactly one of"),
        ({**PROFILE, "dialogues": [DIALOGUE], "dialogue_file": "file_1"}, "/dialogues", "exactly one of"),
        ({**PROFILE, "dialogues": {"messages": []}}, "/dialogues", "must be a list"),
        ({"name": "Vesna", "dialogues": [DIALOGUE]}, "/profile", "missing"),
        ({**PROFILE, "name": " ", "dialogues": [DIALOGUE]}, "/name", "blank"),
        ({**PROFILE, "profile": "a\0", "dialogues": [DIALOGUE]}, "/profile", "NUL"),
        ({**PROFILE, "name": "\udfff", "dialogues": [DIALOGUE]}, "/name", "surrogate"),
        ({**PROFILE, "profile": "x" * 20_001, "dialogues": [DIALOGUE]}, "/profile", "20000"),
        ({**PROFILE, "dialogue_file": "a\0b"}, None, "can't be stored"),
        ([PROFILE], None, "JSON object"),
    ],
)
def test_bad_character(client: TestClient, store_dir: Path, body: Any, pointer: str | None, words: str) -> None:
    response = client.post("/v1/characters", content=json.dumps(body), headers={"content-type": "application/json"})
    problem = problem_of(response, 422)
    assert words in problem.detail
    assert not problem.errors if pointer is None else problem.errors[0].pointer == pointer
    assert nothing_is_stored(client, store_dir)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"name": "V",\n "profile" 1}', "byte 25 (line 2, column 12"),
        (b'{"name": "V",\n "profile": "\xff"}', "not valid UTF-8 (0xff) at byte 27 (line 2, column 14"),
        (b"", "not valid JSON"),
    ],
)
def test_character_body_that_is_not_json(client: TestClient, store_dir: Path, content: bytes, words: str) -> None:
    problem = problem_of(client.post("/v1/characters", content=content), 422)
    assert words in problem.detail
    assert nothing_is_stored(client, store_dir)


def test_only_the_first_twenty_problems(client: TestClient, store_dir: Path) -> None:
    response = client.post("/v1/characters", json={**PROFILE, "dialogues": [turns(USER)] * 1000})
    problem = problem_of(response, 422)
    assert [item.pointer for item in problem.errors] == [f"/dialogues/{index}/messages" for index in range(20)]
    assert nothing_is_stored(client, store_dir)


def test_too_many_dialogues(client: TestClient, store_dir: Path) -> None:
    small = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
    assert "100000" in problem_of(upload(client, small * 100_001), 422).detail
    assert nothing_is_stored(client, store_dir)


def test_bodies_over_the_limit(client: TestClient, store_dir: Path) -> None:
    chunk = b" " * (1 << 20)
    response = client.post("/v1/characters", content=(chunk for _ in range(65)))
    assert "67108864 bytes" in problem_of(response, 413).detail
    response = client.post("/v1/jobs", content=chunk * 2, headers={"content-type": "application/json"})
    assert "1048576 bytes" in problem_of(response, 413).detail
    declared = {"content-length": str(1 << 30), "content-type": "multipart/form-data; boundary=x"}
    assert problem_of(client.post("/v1/files", content=b"--x", headers=declared), 413)
    assert nothing_is_stored(client, store_dir)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"character": "\ud800"}, "/character"),
        ({"base_model": "a\udfff"}, "/base_model"),
        ({"method": {"options": {"safe_file": "\ud800"}}}, "/method/options/safe_file"),
        ({"evaluation": {"suites": [{"name": "starter"}, {"name": "\ud800"}]}}, "/evaluation/suites/1/name"),
        ({"\ud800": 1}, "/\\ud800"),
    ],
)
def test_job_with_a_lone_surrogate(client: TestClient, change: dict[str, Any], pointer: str) -> None:
    body = json.dumps({"character": "char_0", "base_model": "smollm2-135m", **change})
    response = client.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    problem = problem_of(response, 422)
    assert [item.pointer for item in problem.errors] == [pointer]
    assert "lone surrogate" in problem.errors[0].detail


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"character": 1' + b"0" * 5000 + b"}", "not valid JSON"),
        (b'{"character":\n "\xff"}', "not valid UTF-8 (0xff) at byte 16 (line 2, column 3"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_job_body_that_is_not_json(client: TestClient, content: bytes, words: str) -> None:
    response = client.post("/v1/jobs", content=content, headers={"content-type": "application/json"})
    assert words in problem_of(response, 422).detail
