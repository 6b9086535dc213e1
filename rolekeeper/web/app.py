"""The FastAPI app that every HTTP process starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, FastAPI

from rolekeeper.contracts.problems import Problem
from rolekeeper.web.body_limit import BodyLimit, BodyLimits
from rolekeeper.web.errors import ANSWERS, Answer, CatchUnexpected, install_error_handlers
from rolekeeper.web.health import Check, health_router
from rolekeeper.web.metrics import HttpMetrics, MeasureRequests
from rolekeeper.web.openapi import document_models
from rolekeeper.web.request_id import RequestIds

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(
    title: str,
    routers: Sequence[APIRouter],
    lifespan: Lifespan | None = None,
    checks: Mapping[str, Check] | None = None,
    limits: BodyLimits | None = None,
    answers: Mapping[type[Exception], Answer] | None = None,
) -> FastAPI:
    """Return an app with request ids, errors as problems, body limits, /livez, /readyz and /metrics.

    Args:
        title: name in the OpenAPI document.
        routers: the routes of the process.
        lifespan: opened at the start, closed at the end.
        checks: what /readyz asks, by name; each raises if its part does not work, and has one second.
        limits: bytes that a request body may have; 64 MiB if not given.
        answers: how errors outside the Rolekeeper tree are answered, such as those of a database driver.

    `app.state.metrics.registry` takes further metrics of the process.
    """
    metrics = HttpMetrics()
    # A redirect from /v1/jobs/ would lead to whatever host the request names in its Host header.
    app = FastAPI(title=title, version=_version(), lifespan=lifespan, redirect_slashes=False)
    app.state.metrics = metrics
    app.state.hangs = lambda: False  # a process whose work may hang knows better
    app.include_router(health_router(checks or {}, metrics.registry))
    for router in routers:
        app.include_router(router)
    install_error_handlers(app, {**ANSWERS, **(answers or {})})
    document_models(app, (Problem,))
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limits=limits or BodyLimits())
    app.add_middleware(CatchUnexpected)
    app.add_middleware(MeasureRequests, metrics=metrics)
    app.add_middleware(RequestIds)
    return app


def _version() -> str:
    try:
        return version("rolekeeper")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
