"""What the operator fixes holds for every job: it fills in what a job leaves out, and refuses what is weaker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gateway.app import create_app
from gateway.settings import Settings
from rolekeeper.contracts.release import Scope
from rolekeeper.jobs import keys
from tests.integration.gateway.calls import create_character, problem_of

POLICY = """
judge = "local"
max_new_tokens = 96
[[suites]]
name = "starter"
[gate]
margin = 0.03
"""


@pytest.fixture
def strict(database_url: str, redis_url: str, store_dir: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A client of a deployment with a policy, with a key for all."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY, encoding="utf-8")
    app = create_app(Settings(database_url=database_url, redis_url=redis_url, store_dir=store_dir, gate_policy=path))
    with app.state.resources.database.transaction() as session:
        key = keys.create_key(session, "platform", list(Scope))
    with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
        yield client


def test_a_job_is_measured_by_the_policy_and_can_not_weaken_it(strict: TestClient) -> None:
    order = {"character": create_character(strict), "base_model": "smollm2-135m"}
    job = strict.post("/v1/jobs", json=order).json()
    evaluation = job["evaluation"]
    assert (evaluation["max_new_tokens"], evaluation["gate"]["margin"]) == (96, 0.03)
    weak = {"suites": [{"name": "xstest"}], "judges": ["phrases"], "max_new_tokens": 8, "gate": {"margin": 0.05}}
    problem = problem_of(strict.post("/v1/jobs", json=order | {"evaluation": weak}), 422)
    assert [item.pointer for item in problem.errors] == [
        "/evaluation/suites",
        "/evaluation/judges",
        "/evaluation/max_new_tokens",
        "/evaluation/gate/margin",
    ]
    more = {"suites": [{"name": "xstest"}, {"name": "starter"}], "gate": {"floor": 0.9}}
    assert strict.post("/v1/jobs", json=order | {"evaluation": more}).status_code == 202
    problem = problem_of(strict.post(f"/v1/jobs/{job['id']}/evaluate", json={"gate": {"margin": 0.05}}), 422)
    assert [item.pointer for item in problem.errors] == ["/gate/margin"]
