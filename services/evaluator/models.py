"""The base models in memory: the ones used last."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path

import structlog

from rolekeeper.lm.catalog import ModelEntry, find_entry
from rolekeeper.lm.load import LoadedModel, load_base

MAX_MODELS = 2


class Models:
    """Loads base models of the allow-list on demand and holds at most `capacity` of them. Not thread-safe."""

    def __init__(self, catalog: dict[str, ModelEntry], cache_dir: Path, capacity: int = MAX_MODELS) -> None:
        self._catalog = catalog
        self._cache_dir = cache_dir
        self._capacity = capacity
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()

    def get(self, alias: str) -> LoadedModel:
        """Return a base model. Raises UnknownBaseModel and BaseModelUnusable."""
        entry = find_entry(self._catalog, alias)
        if alias not in self._loaded:
            # Room first: two models and a third one may not fit in memory together.
            while len(self._loaded) >= self._capacity:
                self._loaded.popitem(last=False)
            started = time.perf_counter()
            self._loaded[alias] = load_base(entry, cache_dir=self._cache_dir)
            seconds = round(time.perf_counter() - started, 2)
            structlog.get_logger().info("base_model_loaded", base_model=alias, seconds=seconds)
        self._loaded.move_to_end(alias)
        return self._loaded[alias]

    def forget(self, alias: str) -> None:
        """Load the base model anew the next time."""
        self._loaded.pop(alias, None)
