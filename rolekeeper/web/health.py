"""/livez, /readyz and /metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Literal

import anyio
import structlog
from anyio import to_thread
from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

Check = Callable[[], None]
"""Raises if the part that it asks does not work."""

CHECK_SECONDS = 1.0
MAX_CHECK_THREADS = 8


class CheckResult(BaseModel):
    """What one check said."""

    ok: bool
    ms: float


class Readiness(BaseModel):
    """Whether this process can do its work now."""

    ready: bool
    checks: dict[str, CheckResult]


class Liveness(BaseModel):
    """Whether this process gets on with its work. One that is hung has to be started again."""

    status: Literal["alive", "hung"]


def health_router(checks: Mapping[str, Check], registry: CollectorRegistry) -> APIRouter:
    """Return the routes that orchestrators and Prometheus ask."""
    router = APIRouter(tags=["health"])
    # Its own threads: checks that hang must not take the ones that serve requests.
    limiter: list[anyio.CapacityLimiter] = []

    @router.get(
        "/livez",
        operation_id="get_liveness",
        summary="Is the process alive?",
        response_model=Liveness,
        responses={503: {"model": Liveness, "description": "It hangs and has to be started again"}},
    )
    async def livez(request: Request) -> Response:
        hangs = request.app.state.hangs()
        body = Liveness(status="hung" if hangs else "alive")
        return JSONResponse(body.model_dump(), status_code=503 if hangs else 200)

    @router.get(
        "/readyz",
        operation_id="get_readiness",
        summary="Can the process do its work?",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "A check failed; the body says which"}},
    )
    async def readyz() -> Response:
        if not limiter:
            limiter.append(anyio.CapacityLimiter(MAX_CHECK_THREADS))
        results = await _run_checks(checks, limiter[0])
        ready = all(result.ok for result in results.values())
        body = Readiness(ready=ready, checks=results)
        return JSONResponse(body.model_dump(), status_code=200 if ready else 503)

    @router.get("/metrics", operation_id="get_metrics", summary="Metrics for Prometheus", response_class=Response)
    def metrics() -> Response:
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return router


async def _run_checks(checks: Mapping[str, Check], limiter: anyio.CapacityLimiter) -> dict[str, CheckResult]:
    results: dict[str, CheckResult] = {}

    async def run(name: str, check: Check) -> None:
        results[name] = await _run_check(name, check, limiter)

    async with anyio.create_task_group() as group:
        for name, check in checks.items():
            group.start_soon(run, name, check)
    return {name: results[name] for name in checks}


async def _run_check(name: str, check: Check, limiter: anyio.CapacityLimiter) -> CheckResult:
    started = time.perf_counter()
    error = f"no answer within {CHECK_SECONDS} s"
    done = False
    with anyio.move_on_after(CHECK_SECONDS):
        try:
            await to_thread.run_sync(check, abandon_on_cancel=True, limiter=limiter)
            done = True
        except Exception as failure:  # any failure means the same here: not ready
            error = f"{type(failure).__name__}: {failure}"
    if not done:
        structlog.get_logger().warning("check_failed", check=name, error=error)
    return CheckResult(ok=done, ms=round((time.perf_counter() - started) * 1000, 1))
