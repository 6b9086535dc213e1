"""The evaluator as a FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread
from fastapi import FastAPI
from prometheus_client import Gauge

from rolekeeper.artifacts.store import Store
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.forward import UnknownProjection
from rolekeeper.lm.load import BaseModelUnusable
from rolekeeper.lm.recipe import trained_prompts
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.web.app import create_app as create_web_app
from rolekeeper.web.beats import send_beats
from rolekeeper.web.errors import Answer
from services.evaluator.adapters import Adapters
from services.evaluator.judges import JudgeUnavailable, load_judges
from services.evaluator.kept import KeptAnswers
from services.evaluator.respond import Responder
from services.evaluator.routes import Entrance, evaluator_router
from services.evaluator.scratch import sweep
from services.evaluator.settings import Settings
from services.evaluator.suites.files import SuiteFiles
from services.evaluator.suites.shelf import Suites

MAX_MODELS = 2

# Who holds the service token runs the deployment, and is told what is wrong with it.
_ANSWERS: dict[type[Exception], Answer] = {
    BaseModelUnusable: Answer(500),
    UnknownProjection: Answer(500),
    JudgeUnavailable: Answer(503, {"retry-after": "10"}),
}


def create_app(settings: Settings) -> FastAPI:
    """Return the app. The base model named in `evaluator_preload` is in memory before the first request is taken.

    Raises BadCatalog and BadJudges; starting it raises UnknownBaseModel and BaseModelUnusable for the preload.
    """
    # In a cluster the store is mounted read-only; on one machine this may be the first process that needs it.
    settings.store_dir.mkdir(parents=True, exist_ok=True)
    catalog = load_catalog(settings.models)
    models = ResidentModels(catalog, MAX_MODELS, settings.cache_dir)
    store = Store(settings.store_dir)
    unpacked = settings.cache_dir / "unpacked"
    sweep(unpacked)
    adapters = Adapters(store, unpacked)
    suites = Suites(SuiteFiles(settings.suites_dir), store, trained_prompts(catalog))
    responder = Responder(models, adapters, KeptAnswers(settings.cache_dir / "answers"))

    inside = Gauge("evaluator_requests_inside", "Requests that are answered or wait for it", registry=None)
    entrance = Entrance(settings.service_token, settings.evaluator_max_requests, inside)

    def preload(alias: str) -> None:
        with models.use(alias):
            pass

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if settings.evaluator_preload is not None:
            await to_thread.run_sync(preload, settings.evaluator_preload)
        yield
        adapters.close()

    judges = load_judges(settings.judges, settings.cache_dir)
    app = create_web_app(
        "Rolekeeper evaluator",
        [evaluator_router(responder, suites, judges, entrance)],
        lifespan=lifespan,
        checks={"store": lambda: _check_folder(settings.store_dir)},
        answers=_ANSWERS,
    )
    send_beats(app, settings.stall_seconds)
    app.state.metrics.registry.register(inside)
    return app


def _check_folder(folder: Path) -> None:
    next(folder.iterdir(), None)
