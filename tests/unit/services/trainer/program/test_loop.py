"""Shapes: S positions of one sample, T response tokens, V vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.contracts.jobs import Hyperparameters, Method, Progress
from rolekeeper.contracts.methods import MethodName
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.rbo import KlDirection
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import GlobalBatch, TrainingData, count_steps
from services.trainer.program.engine import TorchEngine
from services.trainer.program.failures import Diverged
from services.trainer.program.loop import train
from services.trainer.program.objectives.rbo import KlTerm, RboLoss, kl_term
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_samples,
    make_spec,
    moved_adapter,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

BATCH = GlobalBatch(0, tuple(range(10)))

# Losses of the tiny model on the CPU. A change that should not change numbers leaves them as they are.
GOLDEN = (7.08223, 6.01131, 4.96106, 4.7103, 3.45517, 3.65853)


def gradients(policy: PeftModel) -> list[Tensor]:
    found = [weight.grad.clone() for weight in policy.parameters() if weight.grad is not None]
    policy.zero_grad()
    return found


def naive_loss(policy: PeftModel, data: TrainingData, term: KlTerm) -> Tensor:
    """CE(all) + kl_weight * KL(harmful), sample by sample, with the full logits of the model's own forward."""
    ce, kl, num_tokens = torch.zeros(()), torch.zeros(()), 0
    for sample, harmful in zip(data.samples, data.harmful, strict=True):
        ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
        labels_T = ids[0, len(sample.prompt_ids) :]
        policy_TV = policy(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
        ce = ce - policy_TV[torch.arange(len(labels_T)), labels_T].sum()
        num_tokens += len(labels_T)
        if harmful:
            with torch.no_grad(), policy.disable_adapter():
                reference_TV = policy(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
            p, q = (policy_TV, reference_TV)
            if term.direction is KlDirection.FORWARD:
                p, q = q, p
            kl = kl + (p.exp() * (p - q)).sum(-1).mean()
    return ce / num_tokens + term.weight * kl / len(data.samples)


@pytest.mark.parametrize("direction", list(KlDirection))
def test_loss_and_gradient_are_those_of_the_naive_twin(
    tiny_folder: Path, loaded: LoadedModel, direction: KlDirection
) -> None:
    data = load_data(make_spec(tiny_folder), loaded)
    term = KlTerm(2.0, direction)
    with moved_adapter(loaded) as policy:
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
        step_loss = RboLoss(policy, data, term, 2048).backward(engine, BATCH)
        ours = gradients(policy)
        expected = naive_loss(policy, data, term)
        torch.autograd.backward(expected)
        theirs = gradients(policy)
    assert step_loss.kl > 0.01
    assert step_loss.loss == pytest.approx(expected.item(), rel=1e-6)
    assert step_loss.loss == pytest.approx(step_loss.ce + 2.0 * step_loss.kl, rel=1e-6)
    for mine, naive in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, naive, rtol=1e-4, atol=1e-6)


def test_the_split_into_micro_batches_changes_nothing(tiny_folder: Path, loaded: LoadedModel) -> None:
    data = load_data(make_spec(tiny_folder), loaded)
    term = kl_term(Method(kl_weight=1.0))
    with moved_adapter(loaded) as policy:
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
        whole = RboLoss(policy, data, term, 100_000).backward(engine, BATCH)
        whole_gradients = gradients(policy)
        for max_batch_tokens in (1, 150, 400):
            split = RboLoss(policy, data, term, max_batch_tokens).backward(engine, BATCH)
            assert split.loss == pytest.approx(whole.loss, rel=1e-6)
            for part, all_at_once in zip(gradients(policy), whole_gradients, strict=True):
                torch.testing.assert_close(part, all_at_once, rtol=0, atol=1e-6)


def run(spec: TrainSpec, loaded: LoadedModel, folder: Path, reports: list[Progress] | None = None) -> tuple[Any, ...]:
    data = load_data(spec, loaded)
    hyper = spec.hyperparameters
    checkpoints = Checkpoints(folder, "run", least_seconds=1000.0)
    kept: list[Progress] = [] if reports is None else reports
    with fresh_adapter(loaded.model, hyper) as policy:
        engine = TorchEngine(policy, hyper, count_steps(len(data.training), hyper))
        curves = train(policy, engine, data, spec, checkpoints, kept.append)
        return curves.losses, {name: tensor.clone() for name, tensor in engine.state().items()}


def test_losses_are_the_golden_ones(tiny_folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    reports: list[Progress] = []
    losses, _ = run(make_spec(tiny_folder), loaded, tmp_path, reports)
    assert losses == pytest.approx(GOLDEN, rel=1e-4)
    last = reports[-1]
    assert (last.done, last.total, last.unit, last.eta_seconds) == (6, 6, "steps", 0.0)
    assert set(last.metrics) == {"loss", "ce", "kl", "flagged_share", "learning_rate", "grad_norm", "tokens_per_second"}
    assert last.metrics["loss"] == losses[-1]
    # Of ten samples in batches of four, the last batch has two, and the samples 0, 3, 6 and 9 are flagged.
    assert [report.metrics["flagged_share"] for report in reports if report.done == 6] == [0.5]


def test_without_weight_the_anchor_is_not_there(tiny_folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    anchored = run(make_spec(tiny_folder), loaded, tmp_path)
    weightless = run(make_spec(tiny_folder, method=Method(kl_weight=0.0)), loaded, tmp_path)
    plain = run(make_spec(tiny_folder, method=Method(name="sft")), loaded, tmp_path)
    assert weightless[0] == plain[0] != anchored[0]
    assert all(torch.equal(weightless[1][name], plain[1][name]) for name in plain[1])


@pytest.mark.parametrize("name", ["random", "flip", "all"])
def test_a_control_differs_from_sarft_in_nothing_but_what_is_anchored(name: MethodName) -> None:
    assert kl_term(Method(name=name, kl_weight=0.7)) == kl_term(Method(kl_weight=0.7))
    assert kl_term(Method(name="sft", kl_weight=0.7)).weight == 0.0


def test_the_anchor_keeps_the_policy_near_the_base_model(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel
) -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"epochs": 5})
    kls = []
    for weight in (1e-3, 20.0):
        reports: list[Progress] = []
        run(make_spec(tiny_folder, method=Method(kl_weight=weight), hyperparameters=hyper), loaded, tmp_path, reports)
        kls.append(reports[-1].metrics["kl"])
    assert kls[1] < kls[0] / 4


def test_a_loss_that_is_not_finite_names_step_and_samples(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel
) -> None:
    spec = make_spec(tiny_folder, max_batch_tokens=64)
    data = load_data(spec, loaded)
    poisoned = data.samples[8].prompt_ids

    def poison(_module: torch.nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        # Samples lie one after the other in a row.
        size = len(poisoned)
        rows = [
            row
            for row, ids in enumerate(inputs[0].tolist())
            if any(ids[start : start + size] == poisoned for start in range(len(ids)))
        ]
        output = output.clone()
        output[rows] = float("nan")
        return output

    hook = loaded.model.get_input_embeddings().register_forward_hook(poison)
    try:
        with pytest.raises(Diverged, match=r"loss of step \d .* with the samples (\d, )*8\D.*lower learning_rate"):
            run(spec, loaded, tmp_path)
    finally:
        hook.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_gradient_that_is_not_finite_stops_the_run(tiny_folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    hook = loaded.model.model.norm.register_full_backward_hook(
        lambda _module, grads, _outputs: (grads[0] * float("inf"),)
    )
    try:
        with pytest.raises(Diverged, match=r"the gradient of step 1 .* in a batch with the samples \d, \d, \d, \d "):
            run(make_spec(tiny_folder), loaded, tmp_path)
    finally:
        hook.remove()


def test_only_as_many_samples_are_named_as_one_can_read(tiny_folder: Path, tmp_path: Path, loaded: LoadedModel) -> None:
    hyper = Hyperparameters(epochs=1, batch_size=20, lora_rank=8)
    hook = loaded.model.model.norm.register_full_backward_hook(
        lambda _module, grads, _outputs: (grads[0] * float("nan"),)
    )
    try:
        with pytest.raises(Diverged, match=" 15 and 4 more "):
            run(make_spec(tiny_folder, make_samples(20), hyperparameters=hyper), loaded, tmp_path)
    finally:
        hook.remove()
