"""ZeRO-3 in a world of one. What several processes make of it is in tests/integration/test_spread_weights.py."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base
from services.trainer.program.engine import Engine, TorchEngine
from services.trainer.program.full import free_weights, whole_weights
from services.trainer.program.policy import is_spread
from services.trainer.program.world import World
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS

if TYPE_CHECKING:
    from services.trainer.program.zero3 import PartitionedEngine

# DeepSpeed 0.19 calls functions of torch by their old names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

FULL = HYPERPARAMETERS.model_copy(update={"training": "full", "learning_rate": 1e-3})
INPUT_IDS = torch.arange(8).unsqueeze(0)


def fresh(tiny_folder: Path, dtype: torch.dtype) -> PreTrainedModel:
    loaded = load_base(find_entry(load_catalog(tiny_folder / "models.toml"), "tiny"), "cpu", dtype=dtype)
    return free_weights(loaded.model, FULL)


def spread(policy: PreTrainedModel, world: World) -> PartitionedEngine:
    from services.trainer.program.zero3 import PartitionedEngine  # noqa: PLC0415 - it takes seconds

    return PartitionedEngine(policy, FULL, 4, world)


def loss_of(policy: PreTrainedModel) -> Callable[[], Tensor]:
    target_BSD = torch.randn((1, 8, 48), generator=torch.Generator().manual_seed(0))

    def compute() -> Tensor:
        hidden_BSD = policy.base_model(input_ids=INPUT_IDS, use_cache=False).last_hidden_state
        loss: Tensor = (hidden_BSD.float() - target_BSD).square().mean()
        return loss

    return compute


def take_steps(engine: Engine, policy: PreTrainedModel, count: int) -> list[float]:
    losses = []
    for _ in range(count):
        loss = engine.forward(loss_of(policy))
        engine.backward(loss)
        engine.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 5e-3)])
def test_it_steps_as_plain_torch_and_each_goes_on_from_the_other(
    tiny_folder: Path, world: World, dtype: torch.dtype, tolerance: float
) -> None:
    policy = fresh(tiny_folder, dtype)
    plain = TorchEngine(policy, FULL, 4)
    expected = take_steps(plain, policy, 2)
    kept = {name: tensor.clone() for name, tensor in plain.state().items()}
    expected += take_steps(plain, policy, 2)
    tuned = whole_weights(policy, plain)

    first = fresh(tiny_folder, dtype)
    engine = spread(first, world)
    losses = take_steps(engine, first, 2)
    state = engine.state()
    assert state.keys() == kept.keys()
    for name, tensor in kept.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=max(tolerance, 1e-5))
    engine.close()

    second = fresh(tiny_folder, dtype)
    engine = spread(second, world)
    engine.load_state(2, kept)
    losses += take_steps(engine, second, 2)
    assert losses == pytest.approx(expected, rel=0, abs=tolerance)
    made = whole_weights(second, engine)
    assert made.keys() == tuned.keys()
    for name, tensor in tuned.items():
        assert made[name].dtype == dtype
        torch.testing.assert_close(made[name].float(), tensor.float(), rtol=0, atol=max(tolerance, 1e-4))
    engine.close()


def test_a_gradient_that_is_not_finite_changes_nothing(tiny_folder: Path, world: World) -> None:
    policy = fresh(tiny_folder, torch.float32)
    engine = spread(policy, world)
    take_steps(engine, policy, 1)
    before = whole_weights(policy, engine)
    engine.backward(engine.forward(loss_of(policy)) * float("inf"))
    assert engine.step().grad_norm == float("inf")
    after = whole_weights(policy, engine)
    assert all(torch.equal(weight, before[name]) for name, weight in after.items())
    engine.close()


def test_passes_without_gradients_see_whole_weights_and_leave_none_gathered(tiny_folder: Path, world: World) -> None:
    policy = fresh(tiny_folder, torch.float32)
    with torch.no_grad():
        expected = loss_of(policy)()
    engine = spread(policy, world)
    assert is_spread(policy)
    with torch.no_grad():
        assert torch.equal(engine.look(loss_of(policy)), expected)
    assert all(weight.numel() == 0 for weight in policy.parameters())
    engine.close()


def test_nothing_of_it_outlives_the_run(tiny_folder: Path, world: World) -> None:
    linear = functional.linear
    policy = fresh(tiny_folder, torch.float32)
    engine = spread(policy, world)
    take_steps(engine, policy, 1)
    moments = [weakref.ref(tensor) for tensor in engine._engine.optimizer.fp32_partitioned_groups_flat]
    shares = [weakref.ref(vars(weight)["ds_tensor"]) for weight in policy.parameters()]
    engine.close()
    del engine, policy
    gc.collect()
    assert not [ref for ref in (*moments, *shares) if ref() is not None]
    assert functional.linear is linear
