"""The evaluator as a FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI

from rolekeeper.artifacts.store import Store
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import BaseModelUnusable
from rolekeeper.web.app import create_app
from rolekeeper.web.errors import Answer
from services.evaluator.adapters import Adapters
from services.evaluator.kept import KeptAnswers
from services.evaluator.models import Models
from services.evaluator.respond import Responder
from services.evaluator.routes import evaluator_router
from services.evaluator.settings import Settings
from services.evaluator.suites import load_suites


def create_evaluator(settings: Settings) -> FastAPI:
    """Return the app.

    Raises BadCatalog, BadSuite, UnknownBaseModel and BaseModelUnusable: a process that could not do its work does not
    start.
    """
    # In a cluster the store is mounted read-only; on one machine this may be the first process that needs it.
    settings.store_dir.mkdir(parents=True, exist_ok=True)
    models = Models(load_catalog(settings.models), settings.cache_dir)
    responder = Responder(models, Adapters(Store(settings.store_dir)), KeptAnswers(settings.cache_dir / "answers"))
    if settings.evaluator_preload is not None:
        responder.preload(settings.evaluator_preload)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        responder.close()

    return create_app(
        "Rolekeeper evaluator",
        [evaluator_router(responder, load_suites(), settings.service_token)],
        lifespan=lifespan,
        checks={"store": lambda: _check_folder(settings.store_dir)},
        # Who holds the service token runs the deployment, and has to know what is wrong with it.
        answers={BaseModelUnusable: Answer(500)},
    )


def _check_folder(folder: Path) -> None:
    next(folder.iterdir(), None)
