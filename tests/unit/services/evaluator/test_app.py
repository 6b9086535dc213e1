"""The evaluator over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.problems import Problem
from rolekeeper.contracts.suites import Suite
from rolekeeper.contracts.verdicts import VerdictResponse
from rolekeeper.errors import UnknownBaseModel
from rolekeeper.lm.load import LoadedModel
from services.evaluator.app import create_app
from services.evaluator.settings import Settings
from tests.unit.services.evaluator.adapter_tars import PEFT_ASKS_BY_AN_OLD_NAME

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

TOKEN = {"authorization": "Bearer secret"}
STARTER = {"choice": {"name": "starter"}}
BODY = {
    "base_model": "tiny",
    "profile": {"name": "Isaura", "profile": "You keep a light on the coast."},
    "items": [
        {
            "id": "a",
            "messages": [{"role": "user", "content": "Who are you?"}],
            "context": "role",
            "reference": "Isaura.",
        },
        {"id": "b", "messages": [{"role": "user", "content": "Where do the boats go?"}]},
    ],
    "max_new_tokens": 8,
}


@pytest.fixture
def settings(catalog_path: Path, tmp_path: Path) -> Settings:
    return Settings(
        service_token="secret", store_dir=tmp_path / "store", cache_dir=tmp_path / "cache", models=catalog_path
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), headers=TOKEN) as client:
        yield client


def problem(client: TestClient, status: int, **changes: object) -> Problem:
    response = client.post("/v1/verdicts", json={**BODY, **changes})
    assert response.status_code == status
    return Problem.model_validate_json(response.content)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"SERVICE_TOKEN": "t", "STORE_DIR": "/s", "CACHE_DIR": "/c", "MODELS": "/m.toml", "EVALUATOR_PORT": "9"}
    for name, value in names.items():
        monkeypatch.setenv(f"ROLEKEEPER_{name}", value)
    settings = Settings()
    assert (settings.evaluator_host, settings.evaluator_port, settings.models) == ("127.0.0.1", 9, Path("/m.toml"))


@pytest.mark.parametrize("headers", [{"authorization": ""}, {"authorization": "Bearer wrong"}])
def test_both_routes_need_the_service_token(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/v1/suites", json=STARTER, headers=headers).status_code == 401
    assert client.post("/v1/verdicts", json=BODY, headers=headers).status_code == 401


def test_a_suite_is_served_whole(client: TestClient) -> None:
    suite = Suite.model_validate_json(client.post("/v1/suites", json=STARTER).content)
    assert (suite.name, len(suite.prompts)) == ("starter", 120)


def test_an_unknown_suite_is_not_found(client: TestClient) -> None:
    response = client.post("/v1/suites", json={"choice": {"name": "other"}})
    assert response.status_code == 404
    assert "known are starter" in response.json()["detail"]


def test_verdicts_come_in_the_order_of_the_items(client: TestClient, loaded: LoadedModel, adapter_sha256: str) -> None:
    base = VerdictResponse.model_validate_json(client.post("/v1/verdicts", json=BODY).content)
    body = {**BODY, "adapter_sha256": adapter_sha256}
    tuned = VerdictResponse.model_validate_json(client.post("/v1/verdicts", json=body).content)
    assert [verdict.id for verdict in base.verdicts] == ["a", "b"]
    assert base.verdicts[0].fidelity is not None
    assert base.verdicts[1].fidelity is None
    assert (base.base_digest, base.adapter_sha256, [judge.version for judge in base.judges]) == (
        loaded.digest,
        None,
        ["phrases@1"],
    )
    assert (tuned.base_digest, tuned.adapter_sha256) == (loaded.digest, adapter_sha256)
    assert [verdict.response for verdict in tuned.verdicts] != [verdict.response for verdict in base.verdicts]


def test_kept_answers_survive_a_restart(settings: Settings, client: TestClient) -> None:
    first = client.post("/v1/verdicts", json=BODY).json()
    entries = sorted((settings.cache_dir / "answers").rglob("*.json"))
    written = [entry.stat().st_mtime_ns for entry in entries]
    with TestClient(create_app(settings), headers=TOKEN) as restarted:
        assert restarted.post("/v1/verdicts", json=BODY).json() == first
    assert len(entries) == 2
    assert [entry.stat().st_mtime_ns for entry in entries] == written


def test_an_unknown_base_model_is_refused(client: TestClient) -> None:
    answer = problem(client, 422, base_model="gpt")
    assert answer.error.code == "unknown_base_model"
    assert "qwen, tiny, twin" in answer.detail


def test_an_unknown_judge_is_refused(client: TestClient) -> None:
    answer = problem(client, 422, judges=["phrases", "oracle"])
    assert answer.error.code == "unknown_judge"
    assert "no judge 'oracle'; known are phrases" in answer.detail


def test_an_item_that_does_not_end_with_a_user_turn_is_named(client: TestClient) -> None:
    answer = problem(client, 422, items=[{"id": "odd", "messages": [{"role": "assistant", "content": "Well met."}]}])
    assert "item 'odd'" in answer.detail
    assert answer.errors[0].pointer == "/items/0/messages"


def test_an_adapter_for_another_base_model_is_refused(client: TestClient, adapter_sha256: str) -> None:
    answer = problem(client, 422, base_model="twin", adapter_sha256=adapter_sha256)
    assert answer.error.code == "bad_adapter"
    assert "made for base model 'tiny'" in answer.detail


def test_an_artifact_that_is_no_adapter_is_refused(client: TestClient, store: Store) -> None:
    assert "not a whole tar" in problem(client, 422, adapter_sha256=store.put(b"text").sha256).detail
    assert problem(client, 404, adapter_sha256="0" * 64).error.code == "not_found"


def test_a_base_model_that_is_gone_says_so(settings: Settings, tmp_path: Path) -> None:
    gone = tmp_path / "models.toml"
    gone.write_text(
        f'[models.tiny]\nsource = "folder"\nlocation = "{tmp_path / "gone"}"\npublic_id = "x"\nlicense = "x"\n'
    )
    with TestClient(create_app(settings.model_copy(update={"models": gone})), headers=TOKEN) as client:
        answer = problem(client, 500)
    assert answer.error.code == "base_model_unusable"
    assert "gone" in answer.detail


def test_readiness_asks_for_the_store(settings: Settings, client: TestClient) -> None:
    assert client.get("/readyz").json()["ready"] is True
    settings.store_dir.rmdir()
    assert client.get("/readyz").status_code == 503


def test_a_preload_that_fails_stops_the_start(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"evaluator_preload": "tiny"}))) as client:
        assert client.get("/livez").status_code == 200
    app = create_app(settings.model_copy(update={"evaluator_preload": "gpt"}))
    with pytest.raises(UnknownBaseModel), TestClient(app):
        pass
