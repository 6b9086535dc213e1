"""Shapes: as in the code under test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.lm.forward import collate, response_logits
from rolekeeper.lm.load import BaseModelUnusable, LoadedModel
from rolekeeper.method.rbo import ce_sum
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.data import GlobalBatch, TrainingData
from services.trainer.program.engine import TorchEngine
from services.trainer.program.objectives.rbo import RboLoss, kl_term
from services.trainer.program.objectives.step import StepLoss
from services.trainer.program.objectives.vaccine import VaccineLoss, find_attentions
from tests.unit.services.trainer.program.runs import HYPERPARAMETERS, PEFT_ASKS_BY_AN_OLD_NAME, load_data, make_spec

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

BATCH = GlobalBatch(0, tuple(range(6)))
WHOLE = 100_000


@pytest.fixture
def data(tiny_folder: Path, loaded: LoadedModel) -> TrainingData:
    return load_data(make_spec(tiny_folder, method=Method(name="vaccine")), loaded)


def vaccine_step(policy: PeftModel, data: TrainingData, rho: float) -> tuple[StepLoss, list[torch.Tensor]]:
    engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
    step_loss = VaccineLoss(policy, data, rho, WHOLE).backward(engine, BATCH)
    gradients = [weight.grad.clone() for weight in policy.parameters() if weight.grad is not None]
    policy.zero_grad()
    return step_loss, gradients


def test_without_a_shift_it_is_plain_fine_tuning(loaded: LoadedModel, data: TrainingData) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        ours, gradients = vaccine_step(policy, data, rho=0.0)
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
        plain = RboLoss(policy, data, kl_term(Method(name="sft")), WHOLE).backward(engine, BATCH)
        expected = [weight.grad for weight in policy.parameters() if weight.grad is not None]
    # Plain fine-tuning has no padding, so additions come in another order.
    assert (ours.loss, ours.ce) == pytest.approx((plain.loss, plain.ce), rel=1e-5)
    assert (ours.kl, ours.num_tokens) == (plain.kl, plain.num_tokens)
    for mine, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_small_shift_raises_the_loss_by_rho_times_the_norm(loaded: LoadedModel, data: TrainingData) -> None:
    """The naive twin keeps the attention outputs and reads their gradients after a backward pass."""
    rho, outputs = 1e-2, []
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        plain, _ = vaccine_step(policy, data, rho=0.0)
        raised, _ = vaccine_step(policy, data, rho=rho)

        def keep(_module: object, _inputs: object, output: tuple[torch.Tensor, ...]) -> None:
            output[0].requires_grad_().retain_grad()
            outputs.append(output[0])

        hooks = [attention.register_forward_hook(keep) for attention in find_attentions(policy)]
        batch = collate([data.samples[index] for index in BATCH.indices], pad_id=0, device="cpu")
        torch.autograd.backward(ce_sum(response_logits(policy, batch), batch.labels_T) / len(batch.labels_T))
        for hook in hooks:
            hook.remove()
    norm = sum(float(output.grad.square().sum()) for output in outputs if output.grad is not None) ** 0.5
    assert len(outputs) == 2
    assert norm > 0.01
    assert raised.loss - plain.loss == pytest.approx(rho * norm, rel=0.05)


def test_it_leaves_no_hook_behind(loaded: LoadedModel, data: TrainingData) -> None:
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        vaccine_step(policy, data, rho=MethodOptions().rho)
        assert not any(attention._forward_hooks for attention in find_attentions(policy))


def test_a_model_without_attention_layers_is_refused() -> None:
    with pytest.raises(BaseModelUnusable, match="no layer called self_attn"):
        find_attentions(torch.nn.Linear(2, 2))
