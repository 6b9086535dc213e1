from __future__ import annotations

import threading
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
