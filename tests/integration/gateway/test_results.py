"""Scores, report and adapter of a job whose stages have succeeded."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.artifacts import ArtifactKind
from rolekeeper.contracts.jobs import StageName
from rolekeeper.contracts.scores import SampleScore, ScoreSummary
from rolekeeper.jobs import claims
from rolekeeper.jobs.db import Database
from rolekeeper.report.card import finish_card
from rolekeeper.report.render import render_page
from tests.integration.gateway.calls import create_job
from tests.integration.jobs.moves import PASSED
from tests.unit.rolekeeper.reports import make_report

README = b"---\nlicense: apache-2.0\n---\n# Isaura Kell\n"


def make_tar(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


ADAPTER = make_tar("README.md", README) + bytes(range(256)) * 100
STORED = make_report().model_copy(update={"adapter_sha256": hashlib.sha256(ADAPTER).hexdigest()})
REPORT = STORED.model_dump_json(indent=1).encode()


class Done(NamedTuple):
    path: str
    indexes: tuple[int, ...]


@pytest.fixture
def done(client: TestClient, database: Database, store_dir: Path) -> Done:
    """A job that has all its artifacts. The indexes of its scores have a gap."""
    job_id = create_job(client)
    indexes = (0, 1, 2, 5, 6)
    scores = b"".join(make_score(index).model_dump_json().encode() + b"\n" for index in indexes)
    made = {
        StageName.SCORE: (ArtifactKind.SCORES, scores),
        StageName.TRAIN: (ArtifactKind.ADAPTER, ADAPTER),
        StageName.EVALUATE: (ArtifactKind.REPORT, REPORT),
    }
    for stage, (kind, content) in made.items():
        with database.transaction() as session:
            held = claims.claim(session, job_id, stage, "worker", 60)
            assert held is not None
            gate = PASSED if stage is StageName.EVALUATE else None
            claims.succeed(session, held, claims.Outcome(kind, Store(store_dir).put(content), "done", gate=gate))
    return Done(f"/v1/jobs/{job_id}", indexes)


def make_score(index: int) -> SampleScore:
    return SampleScore(
        index=index,
        s_role=0.5,
        s_unsafe=0.25,
        margin=-0.25,
        harmful=False,
        selected=False,
        num_tokens=4,
        role_logprob=-4,
        unsafe_logprob=-5,
        plain_logprob=-6,
    )


def test_scores_in_pages(client: TestClient, done: Done) -> None:
    seen: list[int] = []
    while True:
        params = {"limit": 2, **({"after": seen[-1]} if seen else {})}
        page = client.get(f"{done.path}/scores", params=params).json()
        seen += [score["index"] for score in page["data"]]
        if not page["has_more"]:
            break
    assert tuple(seen) == done.indexes
    assert client.get(f"{done.path}/scores", params={"after": 6}).json()["data"] == []
    assert SampleScore.model_validate(client.get(f"{done.path}/scores").json()["data"][0]) == make_score(0)


def test_a_summary_of_all_scores(client: TestClient, done: Done) -> None:
    response = client.get(f"{done.path}/scores/summary")
    summary = ScoreSummary.model_validate_json(response.content)
    assert (response.status_code, summary.num_samples, summary.num_harmful) == (200, len(done.indexes), 0)
    assert [sample.index for sample in summary.most_role_like] == list(done.indexes)
    assert "token_margins" not in client.get(f"{done.path}/scores").text


def test_report(client: TestClient, done: Done) -> None:
    response = client.get(f"{done.path}/report")
    assert response.content == REPORT
    assert response.headers["content-type"] == "application/json"
    etag = response.headers["etag"]
    assert client.get(f"{done.path}/report", headers={"if-none-match": etag}).status_code == 304


def test_report_as_a_page(client: TestClient, done: Done) -> None:
    response = client.get(f"{done.path}/report.html")
    assert response.text == render_page(STORED)
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert response.headers["content-security-policy"].endswith("; frame-ancestors 'none'")
    etag = response.headers["etag"]
    assert client.get(f"{done.path}/report.html", headers={"if-none-match": etag}).status_code == 304


def test_card_holds_the_results(client: TestClient, done: Done) -> None:
    response = client.get(f"{done.path}/card")
    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.text == finish_card(README.decode(), STORED)


def test_what_an_older_build_made_is_a_conflict_that_says_so(
    client: TestClient, done: Done, database: Database, store_dir: Path
) -> None:
    path = Store(store_dir).path(hashlib.sha256(REPORT).hexdigest())
    path.chmod(0o644)
    path.write_bytes(b'{"object":"safety_report"}')
    for kind in ("report.html", "card"):
        response = client.get(f"{done.path}/{kind}")
        assert (response.status_code, response.json()["error"]["code"]) == (409, "unreadable_report")
    assert client.get(f"{done.path}/report").content == b'{"object":"safety_report"}'


def test_adapter_names_its_bytes(client: TestClient, done: Done) -> None:
    response = client.get(f"{done.path}/adapter")
    digest = hashlib.sha256(ADAPTER)
    assert response.content == ADAPTER
    assert response.headers["etag"] == f'"sha256-{digest.hexdigest()}"'
    assert response.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert response.headers["content-type"] == "application/x-tar"
    job_id = done.path.rpartition("/")[2]
    assert response.headers["content-disposition"] == f'attachment; filename="adapter-{job_id}.tar"'
    assert client.get(done.path).json()["adapter_sha256"] == digest.hexdigest()


def test_adapter_can_be_resumed(client: TestClient, done: Done) -> None:
    url = f"{done.path}/adapter"
    etag = client.get(url).headers["etag"]
    rest = client.get(url, headers={"range": "bytes=1000-", "if-range": etag})
    assert (rest.status_code, rest.content) == (206, ADAPTER[1000:])
    assert rest.headers["content-range"] == f"bytes 1000-{len(ADAPTER) - 1}/{len(ADAPTER)}"
    assert rest.headers["etag"] == etag
    changed = client.get(url, headers={"range": "bytes=1000-", "if-range": '"sha256-other"'})
    assert (changed.status_code, changed.content) == (200, ADAPTER)
    assert client.get(url, headers={"range": f"bytes={len(ADAPTER)}-"}).status_code == 416
    assert client.get(url, headers={"if-none-match": etag}).status_code == 304


def test_cancel_of_a_finished_job_conflicts(client: TestClient, done: Done) -> None:
    response = client.post(f"{done.path}/cancel")
    assert response.status_code == 409
    assert response.headers["x-should-retry"] == "false"
