from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from rolekeeper.errors import UnknownBaseModel
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import BaseModelUnusable
from rolekeeper.lm.resident import ResidentModels
from tests.tiny import write_catalog


def test_a_model_is_loaded_once_and_given_up_when_another_needs_the_room(tiny_catalog: Path) -> None:
    models = ResidentModels(load_catalog(tiny_catalog), max_models=2)

    def use(alias: str) -> object:
        with models.use(alias) as loaded:
            return loaded.model

    llama, qwen2 = use("llama"), use("qwen2")
    assert use("llama") is llama
    use("gemma2")  # qwen2 was used the longest time ago
    assert use("llama") is llama
    assert use("qwen2") is not qwen2


def test_one_caller_at_a_time(tiny_catalog: Path) -> None:
    models = ResidentModels(load_catalog(tiny_catalog))
    inside: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with models.use("llama"):
            inside.append("second")

    thread = threading.Thread(target=second)
    with models.use("llama"):
        thread.start()
        entered.wait(5)
        thread.join(0.1)
        inside.append("first")
    thread.join(5)
    assert inside == ["first", "second"]


def test_failures_leave_the_lock_free(tmp_path: Path, tiny_catalog: Path) -> None:
    models = ResidentModels(load_catalog(write_catalog(tmp_path / "models.toml", {"gone": tmp_path / "gone"})))
    for _ in range(2):
        with pytest.raises(BaseModelUnusable), models.use("gone"):
            pass
        with pytest.raises(UnknownBaseModel, match="offered are gone"), models.use("llama"):
            pass


def test_several_share_a_model_and_one_who_wants_it_alone_waits_for_them(tiny_catalog: Path) -> None:
    models = ResidentModels(load_catalog(tiny_catalog))
    alone = threading.Event()

    def use() -> None:
        with models.use("llama"):
            alone.set()

    thread = threading.Thread(target=use)
    with models.share("llama") as first, models.share("llama") as second:
        assert first is second
        thread.start()
        assert not alone.wait(0.2)
    assert alone.wait(5)
    thread.join(5)


def test_a_model_in_use_is_not_given_up_and_later_callers_queue_behind(tiny_catalog: Path) -> None:
    models = ResidentModels(load_catalog(tiny_catalog))
    seen: list[str] = []

    def share(alias: str) -> None:
        with models.share(alias):
            seen.append(alias)

    threads = [threading.Thread(target=share, args=[alias]) for alias in ("qwen2", "llama")]
    with models.share("llama") as held:
        for thread in threads:
            thread.start()
            time.sleep(0.1)
        # There is room for one model: the second waits for it, and so does who comes after, for whatever model.
        assert seen == []
        assert held.model.get_input_embeddings() is not None
    for thread in threads:
        thread.join(30)
    assert seen == ["qwen2", "llama"]


def test_who_waits_for_room_may_give_up(tiny_catalog: Path) -> None:
    models = ResidentModels(load_catalog(tiny_catalog))

    def check() -> None:
        if time.monotonic() > give_up_at:
            raise InterruptedError

    with models.share("llama"):
        give_up_at = time.monotonic() + 0.1
        with pytest.raises(InterruptedError), models.share("qwen2", check):
            pass
    with models.share("qwen2"):
        pass
