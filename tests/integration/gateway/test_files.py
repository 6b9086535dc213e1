"""Uploaded files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from rolekeeper.suites.own import MAX_SUITE_BYTES
from tests.integration.gateway.calls import LINE, nothing_is_stored, problem_of, upload


def test_bytes_come_back_as_they_were(client: TestClient) -> None:
    content = LINE + b"\r\n" + LINE
    response = upload(client, content, filename="../über dialogues.jsonl")
    assert response.status_code == 201
    file = response.json()
    assert file["filename"] == "über dialogues.jsonl"
    assert (file["bytes"], file["purpose"]) == (len(content), "fine-tune")
    assert client.get("/v1/files").json()["data"] == [file]
    assert client.get(f"/v1/files/{file['id']}").json() == file
    download = client.get(f"/v1/files/{file['id']}/content")
    assert download.content == content
    assert download.headers["etag"] == f'"sha256-{hashlib.sha256(content).hexdigest()}"'


def test_other_purpose(client: TestClient, store_dir: Path) -> None:
    problem = problem_of(upload(client, LINE, purpose="assistants"), 422)
    assert problem.errors[0].pointer == "/purpose"
    assert "fine-tune" in problem.detail
    assert nothing_is_stored(client, store_dir)


def test_missing_part(client: TestClient, store_dir: Path) -> None:
    problem = problem_of(client.post("/v1/files", data={"purpose": "fine-tune"}), 422)
    assert problem.errors[0].pointer == "/file"
    broken = client.post("/v1/files", content=b"x", headers={"content-type": "multipart/form-data; boundary=y"})
    assert "multipart/form-data" in problem_of(broken, 422).detail
    many = client.post("/v1/files", files=[(str(number), (None, b"x")) for number in range(9)])
    assert "Maximum number of fields is 8" in problem_of(many, 422).detail
    assert nothing_is_stored(client, store_dir)


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/v1/jobs", "GET, POST"), ("/v1/jobs/job_1", "DELETE, GET"), ("/v1/jobs/job_1/cancel", "POST")],
)
def test_allow_names_every_method_of_a_path(client: TestClient, path: str, methods: str) -> None:
    refused = client.options(path)
    assert (problem_of(refused, 405).error.code, refused.headers["allow"]) == ("method_not_allowed", methods)


SUITE = b"prompt,part,category\nDo it,harmful,illicit\nHelp me,benign,none\n"


def test_a_suite_is_kept_as_it_was(client: TestClient) -> None:
    file = upload(client, SUITE, purpose="suite", filename="ours.csv").json()
    assert (file["purpose"], file["filename"]) == ("suite", "ours.csv")
    assert file["sha256"] == hashlib.sha256(SUITE).hexdigest()
    assert client.get(f"/v1/files/{file['id']}/content").content == SUITE


def test_what_is_wrong_with_a_suite_comes_back_with_its_line(client: TestClient, store_dir: Path) -> None:
    content = SUITE + b"Say it,rude,none\n,benign,none\n"
    problem = problem_of(upload(client, content, purpose="suite"), 422)
    assert [(item.line, item.pointer) for item in problem.errors] == [(4, "/part"), (5, "/prompt")]
    assert "line 4 /part must be one of harmful, benign, in_character" in problem.detail
    assert nothing_is_stored(client, store_dir)


def test_dialogues_are_no_suite_and_a_suite_is_limited(client: TestClient, store_dir: Path) -> None:
    assert "/messages is not known" in problem_of(upload(client, LINE, purpose="suite"), 422).detail
    too_large = problem_of(upload(client, b"x" * (MAX_SUITE_BYTES + 1), purpose="suite"), 422)
    assert "larger than 16 MiB" in too_large.detail
    assert nothing_is_stored(client, store_dir)
