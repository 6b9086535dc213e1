"""Base models in memory: as many as the capacity says, the ones used last."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekeeper.errors import UnknownBaseModel
from rolekeeper.lm.catalog import load_catalog
from services.evaluator.models import Models


def test_the_model_used_longest_ago_makes_room(catalog_path: Path, tmp_path: Path) -> None:
    models = Models(load_catalog(catalog_path), tmp_path, capacity=2)
    tiny, twin = models.get("tiny"), models.get("twin")
    assert models.get("tiny") is tiny
    models.get("qwen")
    assert models.get("tiny") is tiny
    assert models.get("twin") is not twin


def test_a_forgotten_model_is_loaded_anew(catalog_path: Path, tmp_path: Path) -> None:
    models = Models(load_catalog(catalog_path), tmp_path)
    tiny = models.get("tiny")
    models.forget("tiny")
    models.forget("absent")
    assert models.get("tiny") is not tiny


def test_an_unknown_alias_names_the_known_ones(catalog_path: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownBaseModel, match="qwen, tiny, twin"):
        Models(load_catalog(catalog_path), tmp_path).get("gpt")
