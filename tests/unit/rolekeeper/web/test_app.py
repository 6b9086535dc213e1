"""The app that all HTTP processes share, asked over ASGI."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Iterator
from typing import Annotated

import pytest
import structlog
from fastapi import APIRouter, Depends
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field
from structlog.testing import LogCapture

from rolekeeper.contracts.problems import ErrorItem, Problem
from rolekeeper.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    StageFailed,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnknownBaseModel,
)
from rolekeeper.web.app import create_app
from rolekeeper.web.body_limit import BodyLimits
from rolekeeper.web.errors import UNAVAILABLE
from rolekeeper.web.service_token import require_service_token

ERRORS: dict[str, Exception] = {
    "invalid": InvalidInput("bad", problems=[ErrorItem(pointer="/a/3/b", detail="wrong", line=4)]),
    "model": UnknownBaseModel("no such model"),
    "missing": NotFound("no job j1"),
    "conflict": Conflict("not now"),
    "unauthorized": Unauthorized("no key"),
    "large": TooLarge("too big"),
    "unavailable": Unavailable("scorer is down"),
    "worker": StageFailed("secret inner words"),
    "driver": ConnectionRefusedError("password=hunter2"),
    "bug": ZeroDivisionError("secret inner words"),
    "disk": OSError(errno.ENOSPC, "secret inner words"),
}


class Leaf(BaseModel):
    content: str = Field(min_length=1)


class Tree(BaseModel):
    leaves: list[Leaf]
    count: int = 0


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get("/raise/{name}")
    def fail(name: str) -> None:
        raise ERRORS[name]

    @router.post("/trees")
    def plant(tree: Tree, limit: Annotated[int, Field(ge=1)] = 1) -> int:
        return len(tree.leaves) + limit

    @router.get("/internal", dependencies=[Depends(require_service_token("s3cret"))])
    def internal() -> str:
        return "in"

    return router


@pytest.fixture
def client() -> Iterator[TestClient]:
    app = create_app(
        "Test",
        [make_router()],
        limits=BodyLimits(max_bytes=2000),
        answers={ConnectionError: UNAVAILABLE},
    )
    with TestClient(app) as client:
        yield client


@pytest.fixture(autouse=True)
def logs() -> Iterator[LogCapture]:
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    yield capture
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("name", "status", "code", "header"),
    [
        ("invalid", 422, "invalid_input", {}),
        ("model", 422, "unknown_base_model", {}),
        ("missing", 404, "not_found", {}),
        ("conflict", 409, "conflict", {"x-should-retry": "false"}),
        ("unauthorized", 401, "unauthorized", {"www-authenticate": "Bearer"}),
        ("large", 413, "too_large", {}),
        ("unavailable", 503, "unavailable", {"retry-after": "2"}),
        ("driver", 503, "unavailable", {"retry-after": "2"}),
        ("worker", 500, "stage_failed", {}),
        ("bug", 500, "internal_error", {}),
        ("disk", 507, "storage_full", {"retry-after": "60"}),
    ],
)
def test_every_error_is_one_problem(
    client: TestClient, name: str, status: int, code: str, header: dict[str, str]
) -> None:
    response = client.get(f"/raise/{name}")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert header.items() <= dict(response.headers).items()
    problem = Problem.model_validate(response.json())
    assert (problem.status, problem.error.code) == (status, code)
    assert problem.request_id == response.headers["x-request-id"]
    assert problem.error.message == problem.detail


def test_inner_words_stay_inside(client: TestClient, logs: LogCapture) -> None:
    for name in ("worker", "bug", "disk", "driver"):
        text = client.get(f"/raise/{name}").text
        assert "secret" not in text
        assert "hunter2" not in text
    traced = [entry for entry in logs.entries if entry.get("exc_info")]
    assert [type(entry["exc_info"]) for entry in traced] == [StageFailed, ZeroDivisionError, OSError]
    assert all(entry["request_id"].startswith("req_") for entry in traced)


def test_problems_keep_pointer_and_line(client: TestClient) -> None:
    body = client.get("/raise/invalid").json()
    assert body["errors"] == [{"pointer": "/a/3/b", "detail": "wrong", "line": 4}]
    assert body["error"] == {
        "message": "bad",
        "type": "invalid_request_error",
        "param": "a[3].b",
        "code": "invalid_input",
    }


def test_validation_errors_point_at_the_item(client: TestClient) -> None:
    body = {"leaves": [{"content": "x"}, {"content": ""}, {}], "count": "many"}
    response = client.post("/trees", json=body, params={"limit": 0})
    assert response.status_code == 422
    pointers = {item["pointer"]: item["detail"] for item in response.json()["errors"]}
    assert pointers["/leaves/1/content"] == "is empty; it needs text"
    assert pointers["/leaves/2/content"] == "is required and missing"
    assert {"/count", "/query/limit"} <= pointers.keys()
    assert "many" not in response.text


def test_only_the_first_twenty_problems(client: TestClient) -> None:
    response = client.post("/trees", json={"leaves": [{}] * 50})
    assert len(response.json()["errors"]) == 20
    assert "49 more" in response.json()["detail"]


def test_malformed_json_is_located(client: TestClient) -> None:
    content = '{"leaves": [],\n "ü": 1,\n count: 3}'.encode()
    response = client.post("/trees", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "invalid_json"
    assert f"byte {content.index(b'count')} (line 3, column 2)" in response.json()["detail"]


def test_broken_utf8_is_located(client: TestClient) -> None:
    content = b'{"leaves":\n [{"content": "caf\xe9"}]}'
    response = client.post("/trees", content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert f"byte {content.index(0xE9)} (line 2)" in response.json()["detail"]


def test_deep_json_is_refused(client: TestClient) -> None:
    response = client.post("/trees", content=b"[" * 1999, headers={"content-type": "application/json"})
    assert response.status_code == 422


def test_no_redirect_to_a_host_that_the_caller_names(client: TestClient) -> None:
    response = client.get("/internal/", headers={"host": "evil.example"}, follow_redirects=False)
    assert (response.status_code, "location" in response.headers) == (404, False)


def test_unknown_route_and_method(client: TestClient) -> None:
    missing = client.get("/nowhere")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert "/nowhere" in missing.json()["detail"]
    wrong = client.delete("/trees")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert Problem.model_validate(wrong.json()).status == 405


def test_body_limit_by_length_and_by_chunks(client: TestClient) -> None:
    payload = json.dumps({"leaves": [{"content": "x" * 3000}]}).encode()
    headers = {"content-type": "application/json"}
    whole = client.post("/trees", content=payload, headers=headers)
    chunked = client.post("/trees", content=iter([payload[:1500], payload[1500:]]), headers=headers)
    for response in (whole, chunked):
        assert response.status_code == 413
        assert "2000 bytes" in Problem.model_validate(response.json()).detail


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_X", True), ("a b", False), ("x" * 129, False), ("", False)])
def test_request_id_is_kept_if_sane(client: TestClient, given: str, kept: bool) -> None:
    returned = client.get("/livez", headers={"x-request-id": given}).headers["x-request-id"]
    assert (returned == given) is kept
    assert returned


def test_one_access_line_with_the_route_template(client: TestClient, logs: LogCapture) -> None:
    client.get("/raise/missing?token=private", headers={"x-request-id": "r1"})
    client.get("/livez")
    lines = [entry for entry in logs.entries if entry["event"] == "request"]
    assert len(lines) == 1
    assert {"method": "GET", "route": "/raise/{name}", "status": 404, "request_id": "r1"}.items() <= lines[0].items()
    assert "private" not in str(logs.entries)


def test_metrics_are_labelled_by_route(client: TestClient) -> None:
    client.get("/raise/missing")
    client.get("/raise/bug")
    client.request("BREW", "/nowhere")
    text = client.get("/metrics").text
    assert 'http_requests_total{code="404",method="GET",route="/raise/{name}"} 1.0' in text
    assert 'http_requests_total{code="500",method="GET",route="/raise/{name}"} 1.0' in text
    assert 'http_requests_total{code="404",method="OTHER",route="unmatched"} 1.0' in text
    assert 'http_request_duration_seconds_count{method="GET",route="/raise/{name}"} 2.0' in text


def test_readiness_names_the_failed_check() -> None:
    def refuse() -> None:
        raise ConnectionRefusedError("password=hunter2")

    app = create_app("Test", [], checks={"good": lambda: None, "bad": refuse, "slow": lambda: time.sleep(1.4)})
    with TestClient(app) as client:
        started = time.perf_counter()
        response = client.get("/readyz")
        elapsed = time.perf_counter() - started
        assert client.get("/livez").json() == {"status": "alive"}
    assert response.status_code == 503
    assert {name: check["ok"] for name, check in response.json()["checks"].items()} == {
        "good": True,
        "bad": False,
        "slow": False,
    }
    assert "hunter2" not in response.text
    assert elapsed < 1.3
    with TestClient(create_app("Test", [], checks={"good": lambda: None})) as client:
        assert client.get("/readyz").json()["ready"] is True


def test_service_token(client: TestClient) -> None:
    assert client.get("/internal").status_code == 401
    assert client.get("/internal", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/internal", headers={"authorization": "Bearer s3cret"}).json() == "in"
    with pytest.raises(ValueError, match="ROLEKEEPER_SERVICE_TOKEN"):
        require_service_token("")


def test_openapi_knows_the_error_body(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"Problem", "ErrorItem", "OpenAiError"} <= schemas.keys()
