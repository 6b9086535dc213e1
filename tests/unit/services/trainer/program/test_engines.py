"""What the loop asks of an engine, asked of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from rolekeeper.lm.load import LoadedModel
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.engine import Engine, TorchEngine
from services.trainer.program.policy import Policy, trained_weights
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS

# DeepSpeed 0.19 calls functions of torch by their old names.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

Make = Callable[[Policy], Engine]


@pytest.fixture(params=["torch", "zero"])
def make(request: pytest.FixtureRequest) -> Make:
    return maker(request.param, request)


def maker(kind: Literal["torch", "zero"], request: pytest.FixtureRequest) -> Make:
    if kind == "torch":
        return lambda policy: TorchEngine(policy, HYPERPARAMETERS, num_steps=4)
    from services.trainer.program.zero import ZeroEngine  # noqa: PLC0415 - it takes seconds

    world = request.getfixturevalue("world")
    return lambda policy: ZeroEngine(policy, HYPERPARAMETERS, 4, world)


def backward(engine: Engine, policy: Policy, compute: Callable[[Tensor], Tensor]) -> None:
    def loss() -> Tensor:
        return torch.stack([compute(weight).sum() for weight in trained_weights(policy).values()]).sum()

    engine.backward(engine.forward(loss))


def values(policy: Policy) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in trained_weights(policy).items()}


def test_micro_batches_add_up_and_a_step_clips_and_moves(loaded: LoadedModel, make: Make) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = make(policy)
        before = values(policy)
        backward(engine, policy, lambda weight: 600 * weight)
        backward(engine, policy, lambda weight: 400 * weight)
        info = engine.step()
        count = sum(weight.numel() for weight in before.values())
        assert info.grad_norm == pytest.approx(1000 * count**0.5)
        assert info.grad_norm > (HYPERPARAMETERS.max_grad_norm or 0.0)
        for name, weight in values(policy).items():
            torch.testing.assert_close(weight, before[name] - info.learning_rate, rtol=0, atol=1e-6)
        engine.close()


def test_a_gradient_that_is_not_finite_changes_nothing(loaded: LoadedModel, make: Make) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = make(policy)
        before = values(policy)
        backward(engine, policy, lambda weight: float("inf") * weight)
        assert engine.step().grad_norm == float("inf")
        assert all(torch.equal(weight, before[name]) for name, weight in values(policy).items())
        engine.close()


def test_a_move_changes_the_weights_alone(loaded: LoadedModel, make: Make) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = make(policy)
        take_steps(engine, policy, 1)
        before = {name: tensor.clone() for name, tensor in engine.state().items()}
        engine.move([torch.full_like(weight, 0.5 + place) for place, weight in enumerate(values(policy).values())])
        after = engine.state()
        for place, (name, weight) in enumerate(values(policy).items()):
            torch.testing.assert_close(weight, before[f"weight.{name}"] + 0.5 + place)
            assert torch.equal(after[f"weight.{name}"], weight)
            assert torch.equal(after[f"exp_avg.{name}"], before[f"exp_avg.{name}"])
            assert torch.equal(after[f"exp_avg_sq.{name}"], before[f"exp_avg_sq.{name}"])
        engine.close()


@pytest.mark.parametrize("second", ["torch", "zero"])
def test_state_goes_on_where_either_engine_left_it(
    loaded: LoadedModel, make: Make, second: Literal["torch", "zero"], request: pytest.FixtureRequest
) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = make(policy)
        take_steps(engine, policy, 2)
        kept = {name: tensor.clone() for name, tensor in engine.state().items()}
        take_steps(engine, policy, 2)
        straight = {name: tensor.clone() for name, tensor in engine.state().items()}
        engine.close()
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = maker(second, request)(policy)
        engine.load_state(2, kept)
        take_steps(engine, policy, 2)
        resumed = engine.state()
        assert resumed.keys() == straight.keys()
        for name, tensor in straight.items():
            torch.testing.assert_close(resumed[name], tensor, rtol=1e-5, atol=1e-8)
        engine.close()


def take_steps(engine: Engine, policy: Policy, count: int) -> None:
    for _ in range(count):
        backward(engine, policy, torch.square)
        engine.step()
