"""The gateway's app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.documents import DESCRIPTION, TAGS
from gateway.resources import open_resources
from gateway.routes import characters, events, files, jobs, releases, results
from gateway.settings import Settings
from gateway.uploads import LIMITS
from rolekeeper.contracts.characters import CharacterCreate
from rolekeeper.web.app import create_app as create_web_app
from rolekeeper.web.errors import UNAVAILABLE, Answer
from rolekeeper.web.openapi import document_models

API_VERSION = "1"
ROUTERS = (
    *(characters.router, files.router, jobs.router, jobs.polled),
    *(events.router, results.router, releases.router),
)
ANSWERS: dict[type[Exception], Answer] = {
    OperationalError: UNAVAILABLE,
    InterfaceError: UNAVAILABLE,
    PoolTimeout: UNAVAILABLE,
    DataError: Answer(422, detail="a value can't be stored; send text without NUL characters", code="invalid_input"),
}


def create_app(settings: Settings) -> FastAPI:
    """Return the public API. It connects to nothing before the first request."""
    resources = open_resources(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        resources.close()

    app = create_web_app(
        "Rolekeeper",
        ROUTERS,
        lifespan=lifespan,
        checks={"database": resources.database.ping, "store": resources.store.check},
        limits=LIMITS,
        answers=ANSWERS,
    )
    app.version, app.description, app.openapi_tags = API_VERSION, DESCRIPTION, TAGS
    app.state.resources = resources
    document_models(app, (CharacterCreate,))
    return app
