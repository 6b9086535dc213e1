from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import torch
from torch import nn

from rolekeeper.lm.generate import Way, answer_ids
from rolekeeper.lm.generation.abilities import Abilities, find_abilities
from rolekeeper.lm.load import LoadedModel
from tests.unit.rolekeeper.lm.generation.twins import random_prompts


def test_what_tiny_models_can(tiny_models: dict[str, LoadedModel]) -> None:
    """Two layers, keys and values, two key heads of 12 (8) numbers of four bytes."""
    assert find_abilities(tiny_models["qwen2"].model) == Abilities(None, 2 * 2 * 2 * 12 * 4)
    assert find_abilities(tiny_models["smollm2"].model) == Abilities(None, 2 * 2 * 2 * 8 * 4)
    assert find_abilities(tiny_models["gemma2"].model) == Abilities(24, 2 * 2 * 2 * 12 * 4)


class _Mixing(nn.Module):
    """Adds the state of the token before, as layers do that are not attention."""

    def forward(self, hidden_BSD: torch.Tensor) -> torch.Tensor:
        return hidden_BSD + hidden_BSD.roll(1, dims=1) * (torch.arange(hidden_BSD.shape[1]) > 0)[:, None]


@pytest.fixture
def mixing(llama: LoadedModel) -> Iterator[LoadedModel]:
    """A model with a layer that is not attention; what was found of it before is forgotten."""
    trunk, kept = cast(Any, llama.model.base_model), vars(llama.model).pop("_rolekeeper_abilities", None)
    norm = trunk.norm
    trunk.norm = nn.Sequential(_Mixing(), norm)
    yield llama
    trunk.norm = norm
    vars(llama.model)["_rolekeeper_abilities"] = kept or find_abilities(llama.model)


@pytest.mark.parametrize("way", [Way(5), Way(5, temperature=0.8, seed=3), Way(5, rose_weight=0.5)])
def test_a_model_that_mixes_tokens_its_own_way_goes_by_its_own_forward(mixing: LoadedModel, way: Way) -> None:
    branches = [random_prompts(mixing, seed, count=5) for seed in ([1] if way.rose_weight is None else [1, 2])]
    prompts = list(zip(*branches, strict=True))
    assert find_abilities(mixing.model) is None
    mixed = answer_ids(mixing.model, mixing.tokenizer, prompts, way)
    trunk = cast(Any, mixing.model.base_model)
    trunk.norm = trunk.norm[1]
    # What was found is kept. Without the layer, the slow way and the engine are one.
    slow = answer_ids(mixing.model, mixing.tokenizer, prompts, way)
    vars(mixing.model).pop("_rolekeeper_abilities")
    assert find_abilities(mixing.model) is not None
    assert answer_ids(mixing.model, mixing.tokenizer, prompts, way) == slow != mixed
