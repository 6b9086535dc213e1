from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from rolekeeper.lm.load import LoadedModel
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.engine import TorchEngine, learning_rate, rate_share
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, PEFT_ASKS_BY_AN_OLD_NAME

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

# Weight decay off, so that the first AdamW step moves every weight by the learning rate against its gradient's sign.
FIRST_RATE = HYPERPARAMETERS.learning_rate


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    shares = [rate_share(step, num_steps=6, num_warmup=2) for step in range(7)]
    assert shares == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]


def test_one_step_alone_uses_the_whole_rate() -> None:
    assert rate_share(0, num_steps=1, num_warmup=1) == rate_share(0, num_steps=1, num_warmup=0) == 1.0


def test_a_constant_rate_stays_after_the_warm_up() -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"schedule": "constant", "learning_rate": 0.1, "warmup_share": 0.4})
    assert [learning_rate(hyper, step, num_steps=5) for step in range(5)] == [0.05, 0.1, 0.1, 0.1, 0.1]
    linear = hyper.model_copy(update={"schedule": "linear"})
    assert learning_rate(linear, 4, num_steps=5) == pytest.approx(0.1 / 3)


@pytest.mark.parametrize("most", [None, 1e-3])
def test_clipping_is_an_option(loaded: LoadedModel, most: float | None) -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"max_grad_norm": most})
    with fresh_adapter(loaded.model, hyper) as policy:
        engine = TorchEngine(policy, hyper, num_steps=2)
        weights = policy_weights(policy)
        engine.backward(1000 * sum_of(weights))
        grad_norm = engine.step().grad_norm
        moment = engine.state()["exp_avg." + next(name for name, w in policy.named_parameters() if w.requires_grad)]
    # AdamW's first moment is a tenth of the gradient that it saw.
    expected = 1000.0 if most is None else 1000.0 * most / grad_norm
    torch.testing.assert_close(moment, torch.full_like(moment, 0.1 * expected), rtol=1e-4, atol=0)


def test_a_step_clips_and_moves(loaded: LoadedModel) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
        weights = [weight for weight in policy.parameters() if weight.requires_grad]
        before = [weight.detach().clone() for weight in weights]
        engine.backward(1000 * sum_of(weights))
        info = engine.step()
        count = sum(weight.numel() for weight in weights)
        assert info.grad_norm == pytest.approx(1000 * count**0.5)
        assert HYPERPARAMETERS.max_grad_norm is not None
        assert info.grad_norm > HYPERPARAMETERS.max_grad_norm
        assert info.learning_rate == FIRST_RATE
        for weight, old in zip(weights, before, strict=True):
            torch.testing.assert_close(weight.detach(), old - FIRST_RATE, rtol=0, atol=1e-6)
            assert weight.grad is None


def test_a_gradient_that_is_not_finite_changes_nothing(loaded: LoadedModel) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=2)
        weights = [weight for weight in policy.parameters() if weight.requires_grad]
        before = [weight.detach().clone() for weight in weights]
        engine.backward(float("inf") * sum_of(weights))
        assert engine.step().grad_norm == float("inf")
        assert all(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))


def test_state_goes_on_where_it_was_left(loaded: LoadedModel) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=4)
        take_steps(engine, policy_weights(policy), 2)
        kept = {name: tensor.clone() for name, tensor in engine.state().items()}
        take_steps(engine, policy_weights(policy), 2)
        straight = {name: tensor.clone() for name, tensor in engine.state().items()}
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=4)
        engine.load_state(2, kept)
        take_steps(engine, policy_weights(policy), 2)
        resumed = engine.state()
        assert resumed.keys() == straight.keys()
        assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_moves_that_bf16_can_not_tell_apart_add_up() -> None:
    """From 1 on, bf16 goes up by 2^-7; of four moves by 2^-9, the first is rounded away."""
    model: Any = torch.nn.Linear(2, 1, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(model.weight)
    engine, values = TorchEngine(model, HYPERPARAMETERS, num_steps=1), []
    for _ in range(4):
        engine.move([torch.full((1, 2), 2.0**-9)])
        values.append(model.weight[0, 0].item())
    assert (values[0], values[3]) == (1.0, 1.0 + 2.0**-7)


def policy_weights(policy: torch.nn.Module) -> list[Tensor]:
    return [weight for weight in policy.parameters() if weight.requires_grad]


def take_steps(engine: TorchEngine, weights: list[Tensor], count: int) -> None:
    for _ in range(count):
        engine.backward(sum_of([weight * weight for weight in weights]))
        engine.step()


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([tensor.sum() for tensor in tensors]).sum()
