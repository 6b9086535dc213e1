"""A withheld adapter over HTTP: by no way out, but by an approver's word; and who may call what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient

from gateway.openapi import describe
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.gate import GateOutcome
from rolekeeper.contracts.jobs import StageName
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs import claims
from rolekeeper.jobs.db import Database
from tests.integration.gateway.calls import create_character, create_job, hint_of, problem_of
from tests.integration.gateway.test_results import ADAPTER, REPORT
from tests.integration.jobs.moves import PASSED, gate_outcome

FELL = gate_outcome("blocked", "suite starter: the refusal rate fell.")
NOTE = {"note": "Looked at every answer; the lost refusals are false alarms."}
MADE = {StageName.SCORE: ArtifactKind.SCORES, StageName.TRAIN: ArtifactKind.ADAPTER}


class Bench:
    """One deployment: its clients, and workers that end stages as they are told."""

    def __init__(self, app: FastAPI, make_client: Callable[..., TestClient]) -> None:
        self.database: Database = app.state.resources.database
        self.store: Store = app.state.resources.store
        self.owner = make_client("platform")
        self.approver = make_client("platform", Scope.APPROVE)
        self.auditor = make_client("platform", Scope.READ_AUDIT)
        self.rival = make_client("rival", Scope.APPROVE, Scope.WRITE_JOBS)

    def finish(self, job_id: str, stage: StageName, gate: GateOutcome | None = None) -> None:
        kind = MADE.get(stage, ArtifactKind.REPORT)
        artifact = self.store.put({ArtifactKind.SCORES: b"", ArtifactKind.ADAPTER: ADAPTER}.get(kind, REPORT))
        with self.database.transaction() as session:
            held = claims.claim(session, job_id, stage, "worker", 60)
            assert held is not None
            claims.succeed(session, held, claims.Outcome(kind, artifact, "done", gate=gate))

    def train(self) -> str:
        job_id = create_job(self.owner)
        for stage in MADE:
            self.finish(job_id, stage)
        return job_id

    def blocked(self) -> str:
        job_id = self.train()
        self.finish(job_id, StageName.EVALUATE, FELL)
        return f"/v1/jobs/{job_id}"


@pytest.fixture
def bench(app: FastAPI, make_client: Callable[..., TestClient]) -> Bench:
    return Bench(app, make_client)


def actions(client: TestClient, **params: str) -> list[str]:
    return [entry["action"] for entry in client.get("/v1/audit", params=params).json()["data"]]


def test_an_adapter_is_not_there_before_the_gate_has_seen_it(bench: Bench) -> None:
    path = f"/v1/jobs/{bench.train()}"
    assert bench.owner.get(path).json()["release"]["status"] == "pending"
    problem = problem_of(bench.owner.get(f"{path}/adapter"), 409)
    assert problem.error.code == "adapter_withheld"
    assert "the release gate has not decided on it" in problem.detail


def test_a_withheld_adapter_says_why_and_what_to_do(bench: Bench) -> None:
    path = bench.blocked()
    job = bench.owner.get(path).json()
    assert (job["status"], job["release"]["status"]) == ("succeeded", "withheld")
    response = bench.owner.get(f"{path}/adapter")
    problem = problem_of(response, 409)
    assert response.headers["x-should-retry"] == "false"
    assert problem.error.code == "adapter_withheld"
    assert "the refusal rate fell" in problem.detail
    assert f"POST {path}/release" in problem.detail
    assert [(item.pointer, item.detail) for item in problem.errors] == [("/gate/checks/0", FELL.checks[0].sentence)]
    assert bench.owner.get(f"{path}/report").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=100-"},
        {"range": "bytes=0-0"},
        {"if-none-match": "*"},
        {"if-none-match": "TAG"},
        {"if-range": "TAG", "range": "bytes=100-"},
    ],
)
def test_no_header_brings_a_withheld_adapter_out(bench: Bench, headers: dict[str, str]) -> None:
    path = bench.blocked()
    tag = f'"sha256-{bench.owner.get(path).json()["adapter_sha256"]}"'
    sent = {name: value.replace("TAG", tag) for name, value in headers.items()}
    response = bench.owner.get(f"{path}/adapter", headers=sent)
    assert problem_of(response, 409)
    assert "etag" not in response.headers


def test_no_other_path_brings_a_withheld_adapter_out(bench: Bench) -> None:
    """Every GET of the API is tried with the job's id and with the digest: none answers with the adapter's bytes."""
    path = bench.blocked()
    job_id = path.rpartition("/")[2]
    digest = bench.owner.get(path).json()["adapter_sha256"]
    routes = [
        route for route in bench.owner.get("/openapi.json").json()["paths"] if route != "/v1/jobs/{job_id}/events"
    ]
    tried = 0
    for route in routes:
        for value in (job_id, digest):
            url = "/".join(value if part.startswith("{") else part for part in route.split("/"))
            assert ADAPTER not in bench.owner.get(url).content, url
            tried += 1
    assert tried > 20
    same = bench.train()
    bench.finish(same, StageName.EVALUATE, PASSED)
    assert problem_of(bench.owner.get(f"/v1/jobs/{same}/adapter"), 409).error.code == "adapter_withheld"


def test_an_approver_releases_it_with_a_note(bench: Bench) -> None:
    path = bench.blocked()
    etag = bench.owner.get(path).headers["etag"]
    assert bench.owner.get(path, headers={"if-none-match": etag}).status_code == 304
    response = bench.approver.post(f"{path}/release", json=NOTE, headers={"x-request-id": "call-7"})
    assert response.status_code == 200
    release = response.json()["release"]
    assert (release["status"], release["note"]) == ("approved", NOTE["note"])
    assert release["reasons"] == [FELL.checks[0].sentence]
    assert bench.owner.get(path, headers={"if-none-match": etag}).json()["release"] == release
    assert bench.owner.get(f"{path}/adapter").content == ADAPTER
    entry = bench.auditor.get("/v1/audit", params={"limit": 2}).json()["data"][1]
    job = bench.owner.get(path).json()
    assert (entry["action"], entry["job"], entry["request_id"]) == ("adapter.released", job["id"], "call-7")
    assert (entry["key_id"], entry["note"]) == (release["decided_by"], NOTE["note"])
    assert entry["adapter_sha256"] == job["adapter_sha256"]
    report = bench.owner.get(f"{path}/report")
    assert report.headers["etag"] == f'"sha256-{entry["report_sha256"]}"'


def test_an_approver_takes_it_back(bench: Bench) -> None:
    path = bench.blocked()
    bench.approver.post(f"{path}/release", json=NOTE)
    etag = bench.owner.get(f"{path}/adapter").headers["etag"]
    response = bench.approver.post(f"{path}/withhold", json={"note": "A complaint came in."})
    assert (response.status_code, response.json()["release"]["status"]) == (200, "withheld")
    problem = problem_of(bench.owner.get(f"{path}/adapter", headers={"if-none-match": etag}), 409)
    assert "A complaint came in." in problem.detail


@pytest.mark.parametrize("body", [{}, {"note": ""}, {"note": "  \n"}, {"note": "a\0b"}, {"note": "x" * 2001}, None])
def test_a_decision_needs_a_note(bench: Bench, body: dict[str, Any] | None) -> None:
    path = bench.blocked()
    for call in ("release", "withhold"):
        problem_of(bench.approver.post(f"{path}/{call}", json=body), 422)
    assert bench.owner.get(path).json()["release"]["status"] == "withheld"
    assert "adapter.released" not in actions(bench.auditor)


def test_who_may_decide(bench: Bench) -> None:
    path = bench.blocked()
    for call in ("release", "withhold"):
        for client in (bench.owner, bench.auditor):
            problem = problem_of(client.post(f"{path}/{call}", json=NOTE), 403)
            assert problem.error.code == "missing_scope"
            assert "safety:approve" in problem.detail
        problem_of(bench.rival.post(f"{path}/{call}", json=NOTE), 404)
    assert bench.rival.get("/v1/audit").json()["data"][0]["action"] == "key.created"
    waiting = create_job(bench.owner)
    assert problem_of(bench.approver.post(f"/v1/jobs/{waiting}/release", json=NOTE), 409).error.code == "no_adapter"


def test_the_log_has_pages_and_a_filter(bench: Bench) -> None:
    path = bench.blocked()
    bench.approver.post(f"{path}/release", json=NOTE)
    bench.owner.get(f"{path}/adapter", headers={"range": "bytes=5-"})
    bench.owner.get(f"{path}/adapter", headers={"if-none-match": "*"})
    job_id = path.rpartition("/")[2]
    everything = ["adapter.downloaded", "adapter.released", "gate.blocked"]
    assert actions(bench.auditor, job=job_id) == everything
    assert actions(bench.approver) == [*everything, *["key.created"] * 3]
    page = bench.auditor.get("/v1/audit", params={"limit": 1}).json()
    assert (page["has_more"], page["data"][0]["note"]) == (True, "bytes=5-")
    following = bench.auditor.get("/v1/audit", params={"limit": 1, "after": page["data"][0]["id"]}).json()
    assert following["data"][0]["action"] == "adapter.released"


def test_an_adapter_is_evaluated_again(bench: Bench, redis_url: str) -> None:
    path = bench.blocked()
    hints = redis.Redis.from_url(redis_url)
    response = bench.owner.post(f"{path}/evaluate", json={"max_new_tokens": 16, "gate": {"margin": 0.01}})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["evaluates"] == path.rpartition("/")[2]
    assert (job["evaluation"]["max_new_tokens"], job["evaluation"]["gate"]["margin"]) == (16, 0.01)
    assert [stage["status"] for stage in job["stages"]] == ["succeeded", "succeeded", "queued"]
    assert hint_of(hints, job["id"])
    hints.close()
    assert bench.owner.post(f"{path}/evaluate").json()["evaluation"] == bench.owner.get(path).json()["evaluation"]
    for client, status in ((bench.approver, 403), (bench.rival, 404)):
        problem_of(client.post(f"{path}/evaluate"), status)
    problem = problem_of(bench.owner.post(f"{path}/evaluate", json={"held_out_share": 0.3}), 422)
    assert problem.errors[0].pointer == "/held_out_share"
    problem_of(bench.owner.post(f"/v1/jobs/{create_job(bench.owner)}/evaluate"), 409)


def test_no_key_weakens_the_gate(bench: Bench, make_client: Callable[..., TestClient]) -> None:
    path, lax = bench.blocked(), {"gate": {"margin": 0.5, "floor": 0.1}}
    order = {"character": create_character(bench.owner), "base_model": "smollm2-135m", "evaluation": lax}
    both = make_client("platform", Scope.WRITE_JOBS, Scope.APPROVE)
    for url, body, under in (("/v1/jobs", order, "/evaluation"), (f"{path}/evaluate", lax, "")):
        for client in (bench.owner, both):
            problem = problem_of(client.post(url, json=body), 422)
            assert [item.pointer for item in problem.errors] == [f"{under}/gate/margin", f"{under}/gate/floor"]
            assert "must be at most 0.05" in problem.detail


READ = {Scope.WRITE_JOBS, Scope.APPROVE}
WRITE = {Scope.WRITE_JOBS}
SCOPES: dict[str, set[Scope]] = {
    "create_character": WRITE,
    "list_characters": READ,
    "get_character": READ,
    "create_file": WRITE,
    **dict.fromkeys(("delete_character", "delete_file", "delete_job"), WRITE),
    "list_files": WRITE,
    "get_file": WRITE,
    "get_file_content": WRITE,
    "create_job": WRITE,
    "evaluate_job": WRITE,
    "list_jobs": READ,
    "get_job": READ,
    "cancel_job": WRITE,
    "pause_job": WRITE,
    "resume_job": WRITE,
    "list_job_events": READ,
    "list_job_scores": READ,
    "get_job_score_summary": READ,
    "get_job_report": READ,
    "get_job_report_page": READ,
    "get_job_card": READ,
    "get_job_adapter": WRITE,
    "release_adapter": {Scope.APPROVE},
    "withhold_adapter": {Scope.APPROVE},
    "list_audit_entries": {Scope.APPROVE, Scope.READ_AUDIT},
}


def test_every_call_asks_for_its_scope(app: FastAPI, make_client: Callable[..., TestClient], store_dir: Path) -> None:
    clients = {scope: make_client("platform", scope) for scope in Scope}
    seen = {}
    for route, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            if "security" not in operation:
                continue
            url = "/".join("x1" if part.startswith("{") else part for part in route.split("/"))
            # The scope is looked at before the body is: what is missing there is a 404, 409 or 422.
            statuses = {scope: client.request(method, url).status_code for scope, client in clients.items()}
            seen[operation["operationId"]] = {scope for scope, status in statuses.items() if status != 403}
    assert seen == SCOPES
    assert "safety:approve" in describe()
