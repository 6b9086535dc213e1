"""Base models that stay in memory, used by one caller at a time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import structlog

from rolekeeper.lm.catalog import ModelEntry, find_entry
from rolekeeper.lm.load import LoadedModel, load_base
from rolekeeper.lm.memory import release_memory


class ResidentModels:
    """The base models of a compute process: loaded at first use, the least recently used one given up for a new one."""

    def __init__(self, catalog: Mapping[str, ModelEntry], max_models: int = 1, cache_dir: Path | None = None) -> None:
        self._catalog = dict(catalog)
        self._max_models = max_models
        self._cache_dir = cache_dir
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def use(self, alias: str) -> Iterator[LoadedModel]:
        """Yield a base model, for this caller alone until the context ends: two forwards at once would only compete.

        Raises UnknownBaseModel at once, and BaseModelUnusable.
        """
        entry = find_entry(self._catalog, alias)
        with self._lock:
            yield self._get(entry)

    def _get(self, entry: ModelEntry) -> LoadedModel:
        if entry.alias not in self._loaded:
            while len(self._loaded) >= self._max_models:
                self._loaded.popitem(last=False)
                release_memory()
            started = time.monotonic()
            self._loaded[entry.alias] = load_base(entry, cache_dir=self._cache_dir)
            seconds = round(time.monotonic() - started, 2)
            structlog.get_logger().info("base_model_loaded", base_model=entry.alias, seconds=seconds)
        self._loaded.move_to_end(entry.alias)
        return self._loaded[entry.alias]
