"""Base models that stay in memory, for one caller alone or for several at once."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

import structlog

from rolekeeper.lm.catalog import ModelEntry, find_entry
from rolekeeper.lm.load import LoadedModel, load_base
from rolekeeper.lm.memory import release_memory
from rolekeeper.lm.turnstile import Check, Turnstile, go_on

_CHECK_SECONDS = 0.2


class ResidentModels:
    """The base models of a compute process: loaded at first use, the least recently used one given up for a new one.

    A model that somebody uses is never given up: who needs its room waits, and so does everyone who comes later, so
    that a stream of requests for one model can't keep those for another away.
    """

    def __init__(self, catalog: Mapping[str, ModelEntry], max_models: int = 1, cache_dir: Path | None = None) -> None:
        self._catalog = dict(catalog)
        self._max_models = max_models
        self._cache_dir = cache_dir
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()  # changed by who is in the door
        self._door = Turnstile()
        self._users: Counter[str] = Counter()
        self._user_left = Condition()

    @contextmanager
    def use(self, alias: str, check: Check = go_on) -> Iterator[LoadedModel]:
        """Yield a base model, for this caller alone until the context ends: it may change the weights meanwhile.

        `check` is called while waiting, and may end the wait. Raises UnknownBaseModel at once, and BaseModelUnusable.
        """
        entry = find_entry(self._catalog, alias)
        with self._door.turn(check):
            self._wait_until(lambda: not self._users, check)
            yield self._get(entry)

    @contextmanager
    def share(self, alias: str, check: Check = go_on) -> Iterator[LoadedModel]:
        """Yield a base model that others may use at the same time; they agree on whose forward pass is next.

        `check` is called while waiting, and may end the wait. Raises UnknownBaseModel at once, and BaseModelUnusable.
        """
        entry = find_entry(self._catalog, alias)
        with self._door.turn(check):
            self._wait_until(lambda: alias in self._loaded or self._has_room(), check)
            loaded = self._get(entry)
            with self._user_left:
                self._users[alias] += 1
        try:
            yield loaded
        finally:
            with self._user_left:
                self._users[alias] -= 1
                if not self._users[alias]:
                    del self._users[alias]
                self._user_left.notify_all()

    def _wait_until(self, is_so: Callable[[], bool], check: Check) -> None:
        with self._user_left:
            while not is_so():
                self._user_left.wait(_CHECK_SECONDS)
                check()

    def _has_room(self) -> bool:
        return len(self._loaded) < self._max_models or any(alias not in self._users for alias in self._loaded)

    def _get(self, entry: ModelEntry) -> LoadedModel:
        if entry.alias not in self._loaded:
            while len(self._loaded) >= self._max_models:
                del self._loaded[next(alias for alias in self._loaded if alias not in self._users)]
                release_memory()
            started = time.monotonic()
            self._loaded[entry.alias] = load_base(entry, cache_dir=self._cache_dir)
            seconds = round(time.monotonic() - started, 2)
            structlog.get_logger().info("base_model_loaded", base_model=entry.alias, seconds=seconds)
        self._loaded.move_to_end(entry.alias)
        return self._loaded[entry.alias]
