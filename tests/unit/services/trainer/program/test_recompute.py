from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers.modeling_layers import GradientCheckpointingLayer

from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.forward import unwrap
from rolekeeper.lm.load import LoadedModel
from services.trainer.program import recompute
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import count_steps
from services.trainer.program.engine import TorchEngine
from services.trainer.program.loop import train
from services.trainer.program.recompute import kept_bytes_per_token, largest_micro_batch, recomputing
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME


def weights_after(spec: TrainSpec, loaded: LoadedModel, folder: Path) -> dict[str, torch.Tensor]:
    data = load_data(spec, loaded)
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy, recomputing(policy, data, spec) as is_on:
        assert is_on == (spec.gradient_checkpointing == "on")
        engine = TorchEngine(policy, HYPERPARAMETERS, count_steps(len(data.training), HYPERPARAMETERS))
        with counted_forwards(policy) as runs:
            train(policy, engine, data, spec, Checkpoints(folder, "run", 1000.0), lambda _progress: None)
        assert len(runs) == 6 * count_layers(policy) * (2 if is_on else 1)  # 6 steps of one micro-batch
        return {name: tensor.clone() for name, tensor in engine.state().items()}


@contextmanager
def counted_forwards(policy: PeftModel) -> Iterator[list[int]]:
    """A list that grows with every run of a layer's MLP that gradients flow through."""
    runs: list[int] = []

    def count(_module: torch.nn.Module, _inputs: object) -> None:
        if torch.is_grad_enabled():
            runs.append(1)

    hooks = [
        module.register_forward_pre_hook(count) for module in policy.modules() if type(module).__name__.endswith("MLP")
    ]
    yield runs
    for hook in hooks:
        hook.remove()


def count_layers(policy: PeftModel) -> int:
    return sum(isinstance(module, GradientCheckpointingLayer) for module in policy.modules())


def test_the_numbers_are_the_same_to_the_bit(tiny_folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder)
    plain = weights_after(spec.model_copy(update={"gradient_checkpointing": "off"}), loaded, tmp_path)
    twice = weights_after(spec.model_copy(update={"gradient_checkpointing": "on"}), loaded, tmp_path)
    assert all(torch.equal(plain[name], twice[name]) for name in plain)


def test_the_model_is_left_as_it_was(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder, gradient_checkpointing="on")
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        with recomputing(policy, load_data(spec, loaded), spec):
            assert [module.training for module in policy.modules()].count(True) == count_layers(policy) == 2
        assert not any(module.training for module in policy.modules())
        assert not any(getattr(module, "gradient_checkpointing", False) for module in policy.modules())


@pytest.mark.parametrize(("free_share", "expected"), [(1.0, True), (1.3, False)])
def test_it_is_on_where_the_estimate_exceeds_the_free_memory(
    tiny_folder: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, free_share: float, expected: bool
) -> None:
    spec = make_spec(tiny_folder)
    data = load_data(spec, loaded)
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        needed = kept_bytes_per_token(policy) * largest_micro_batch(data, spec)
        monkeypatch.setattr(recompute, "available_bytes", lambda _device: free_share * needed)
        with recomputing(policy, data, spec) as is_on:
            assert is_on == expected


def test_the_estimate_counts_what_autograd_keeps(tiny_folder: Path, loaded: LoadedModel) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        per_token = kept_bytes_per_token(policy)
        config = unwrap(policy).config
        # At the least both inputs of the product in the MLP and its result, and at the most some thirty hidden states.
        least = 3 * config.intermediate_size * 4 * config.num_hidden_layers
        assert least < per_token < 10 * least


def test_the_largest_micro_batch_is_as_long_as_the_budget_or_the_longest_sample(
    tiny_folder: Path, loaded: LoadedModel
) -> None:
    spec = make_spec(tiny_folder)
    data = load_data(spec, loaded)
    longest = max(len(sample.prompt_ids) + len(sample.response_ids) for sample in data.samples)
    assert largest_micro_batch(data, spec) == HYPERPARAMETERS.batch_size * longest
    assert largest_micro_batch(data, spec.model_copy(update={"max_batch_tokens": 64})) == max(64, longest)
