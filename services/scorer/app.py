"""The scorer's app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.forward import UnknownProjection
from rolekeeper.lm.load import BaseModelUnusable
from rolekeeper.lm.resident import ResidentModels
from rolekeeper.web.app import create_app as create_web_app
from rolekeeper.web.beats import send_beats
from rolekeeper.web.errors import Answer
from services.scorer.engine import make_engine
from services.scorer.paper_prompts import load_wording
from services.scorer.routes import Scorer, score_router
from services.scorer.settings import Settings

# Who holds the service token runs the deployment, and is told what is wrong with it.
_ANSWERS: dict[type[Exception], Answer] = {BaseModelUnusable: Answer(500), UnknownProjection: Answer(500)}


def create_app(settings: Settings) -> FastAPI:
    """Return the app. Base models named in `scorer_preload` are in memory before the first request is taken.

    Raises BadCatalog if the allow-list can't be read, and BadPaperPrompts if the released prompts can't.
    """
    models = ResidentModels(load_catalog(settings.models), settings.scorer_max_models, settings.cache_dir)
    preload = [alias.strip() for alias in settings.scorer_preload.split(",") if alias.strip()]

    def load(alias: str) -> None:
        with models.share(alias):
            pass

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        for alias in preload:
            await to_thread.run_sync(load, alias)
        yield

    engine = make_engine(settings.scorer_cache_mib, settings.scorer_max_batch_tokens)
    wording = None if settings.paper_prompts is None else load_wording(settings.paper_prompts)
    scorer = Scorer(models, engine, wording)
    router = score_router(scorer, settings.service_token, settings.scorer_max_requests)
    app = create_web_app("Rolekeeper scorer", [router], lifespan=lifespan, answers=_ANSWERS)
    send_beats(app, settings.stall_seconds)
    engine.metrics.register(app.state.metrics.registry)
    return app
