"""Shapes: T response tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.lm.forward import collate, response_logits
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.logprobs import token_logprobs
from rolekeeper.method.rbo import KlDirection, decision_kl, token_kl
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.anchors.answers import anchor_samples
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import GlobalBatch, TrainingData, count_steps
from services.trainer.program.engine import TorchEngine
from services.trainer.program.loop import train
from services.trainer.program.objectives.choose import objective_of
from services.trainer.program.objectives.divergence import KlLoss
from services.trainer.program.objectives.parts import AnchorKl, AnchorTurns, HarmfulKl, Together
from services.trainer.program.objectives.rbo import KlTerm, RboLoss
from services.trainer.program.objectives.step import Objective, StepLoss, TakesLoss
from services.trainer.program.objectives.surgery import Gradients, Surgery
from services.trainer.program.policy import trained_weights
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
    moved_adapter,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

BATCH = GlobalBatch(0, tuple(range(10)))
TERM = KlTerm(2.0, KlDirection.REVERSE)


@pytest.fixture(scope="module")
def data(tiny_folder: Path, loaded: LoadedModel) -> TrainingData:
    spec = make_spec(tiny_folder)
    return load_data(spec, loaded)._replace(anchors=anchor_samples(loaded, spec)[:6])


@pytest.fixture
def policy(loaded: LoadedModel) -> Iterator[PeftModel]:
    with moved_adapter(loaded) as policy:
        yield policy


def gradients(policy: PeftModel, objective: Objective) -> tuple[StepLoss, list[Tensor]]:
    kept = Gradients([*trained_weights(policy).values()])
    return objective.backward(kept, BATCH), kept.sums


def test_rbo_is_ce_and_kl_together(policy: PeftModel, data: TrainingData) -> None:
    ce = RboLoss(policy, data, TERM._replace(weight=0.0), 300)
    kl = HarmfulKl(KlLoss(policy, data, TERM, 300), data.harmful, TERM.weight)
    ours, our_gradients = gradients(policy, Together([ce, kl]))
    whole, expected = gradients(policy, RboLoss(policy, data, TERM, 300))
    assert whole.kl > 0.01
    assert (ours.loss, ours.ce, ours.kl) == pytest.approx((whole.loss, whole.ce, whole.kl), rel=1e-5)
    for mine, theirs in zip(our_gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_anchors_are_the_mean_kl_of_the_steps_own(policy: PeftModel, data: TrainingData) -> None:
    anchors = TrainingData(data.anchors, (True,) * len(data.anchors))
    turns = AnchorTurns(len(data.anchors), 4, seed=7)
    ours, _ = gradients(policy, AnchorKl(KlLoss(policy, anchors, TERM, 300), turns, TERM.weight))
    means = []
    for index in turns.of_step(0):
        batch = collate([data.anchors[index]], pad_id=0, device="cpu")
        with torch.no_grad():
            policy_TV = response_logits(policy, batch)
            with policy.disable_adapter():
                base_TV = response_logits(policy, batch)
        means.append(token_kl(policy_TV, base_TV, TERM.direction).mean().item())
    assert ours.more["anchor_kl"] == pytest.approx(sum(means) / 4, rel=1e-4)
    assert ours.loss == pytest.approx(2.0 * sum(means) / 4, rel=1e-4)


def test_a_decision_is_held_at_the_tokens_of_the_answer_alone(policy: PeftModel, data: TrainingData) -> None:
    anchors = TrainingData(data.anchors, (True,) * len(data.anchors))
    turns = AnchorTurns(len(data.anchors), 4, seed=7)
    decisions = KlLoss(policy, anchors, TERM, 300, by_decision=True)
    ours, our_gradients = gradients(policy, AnchorKl(decisions, turns, TERM.weight))
    losses = []
    for index in turns.of_step(0):
        batch = collate([data.anchors[index]], pad_id=0, device="cpu")
        with torch.no_grad(), policy.disable_adapter():
            base_T = token_logprobs(response_logits(policy, batch), batch.labels_T)
        policy_T = token_logprobs(response_logits(policy, batch), batch.labels_T)
        losses.append(decision_kl(policy_T, base_T, TERM.direction).mean())
    mean = torch.stack(losses).mean()
    assert ours.more["anchor_kl"] == pytest.approx(mean.item(), rel=1e-3)
    theirs = torch.autograd.grad(TERM.weight * mean, [*trained_weights(policy).values()])
    for mine, naive in zip(our_gradients, theirs, strict=True):
        torch.testing.assert_close(mine, naive, rtol=1e-3, atol=1e-6)


def test_every_anchor_has_its_turn() -> None:
    turns = AnchorTurns(num_anchors=6, per_step=4, seed=1)
    first_round = [anchor for step in range(3) for anchor in turns.of_step(step)]
    assert sorted(first_round[:6]) == sorted(first_round[6:]) == list(range(6))
    assert turns.of_step(1) == AnchorTurns(6, 4, 1).of_step(1)
    assert sorted(AnchorTurns(num_anchors=3, per_step=8, seed=1).of_step(5)) == [0, 1, 2]


class Fixed:
    """An objective with a gradient of its own making."""

    def __init__(self, weight: Tensor, gradient: Tensor) -> None:
        self._loss = (weight, gradient)

    def backward(self, engine: TakesLoss, batch: GlobalBatch) -> StepLoss:
        weight, gradient = self._loss
        engine.backward((weight * gradient).sum())
        return StepLoss(1.0, 1.0, 0.5, batch.step, {})


def test_surgery_gives_the_engine_what_was_worked_out() -> None:
    """(3, 1) . (-1, 0) < 0: (3, 1) loses its first part, and (-1, 0) is added."""
    weight = torch.tensor([5.0, 7.0], requires_grad=True)
    task, safety = Fixed(weight, torch.tensor([3.0, 1.0])), Fixed(weight, torch.tensor([-1.0, 0.0]))
    engine = Gradients([weight])
    loss = Surgery([weight], task, safety).backward(engine, BATCH)
    assert engine.sums[0].tolist() == [-1.0, 1.0]
    assert (loss.loss, loss.ce, loss.kl) == (2.0, 2.0, 1.0)


def test_surgery_without_a_conflict_is_the_plain_sum(policy: PeftModel, data: TrainingData) -> None:
    """KL against itself never conflicts."""
    kl = HarmfulKl(KlLoss(policy, data, TERM, 300), data.harmful, TERM.weight)
    _, expected = gradients(policy, Together([kl, kl]))
    _, ours = gradients(policy, Surgery([*trained_weights(policy).values()], kl, kl))
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs)


def anchor_kl_after(loaded: LoadedModel, data: TrainingData, folder: Path, method: Method) -> float:
    """The mean KL on all anchors after a short training."""
    hyper = HYPERPARAMETERS.model_copy(update={"epochs": 4})
    spec = make_spec(folder, method=method, hyperparameters=hyper)
    used = data if method.options.anchors != "harmful" else data._replace(anchors=())
    checkpoints = Checkpoints(folder / "none", "run", least_seconds=1000.0)
    with fresh_adapter(loaded.model, hyper) as policy:
        engine = TorchEngine(policy, hyper, count_steps(len(data.samples), hyper))
        train(policy, engine, used, spec, checkpoints, lambda _progress: None)
        anchors = TrainingData(data.anchors, (True,) * len(data.anchors))
        every = range(len(data.anchors))
        kl = KlLoss(policy, anchors, TERM, 300).backward(
            Gradients([*trained_weights(policy).values()]), 0, every, len(data.anchors)
        )
        return kl.kl_sum / len(data.anchors)


def test_training_with_anchors_stays_near_the_base_model_on_them(
    tiny_folder: Path, loaded: LoadedModel, data: TrainingData
) -> None:
    options = MethodOptions(anchors="prompts", anchor_weight=5.0)
    free = anchor_kl_after(loaded, data, tiny_folder, Method(name="sft"))
    held = anchor_kl_after(loaded, data, tiny_folder, Method(name="sft", options=options))
    operated = MethodOptions(anchors="prompts", anchor_weight=5.0, surgery=True)
    cut = anchor_kl_after(loaded, data, tiny_folder, Method(name="sft", options=operated))
    assert held < free / 4
    assert cut < free / 4
    assert cut != held


def test_the_table_puts_the_parts_together(policy: PeftModel, data: TrainingData, tiny_folder: Path) -> None:
    def metrics(method: Method, used: TrainingData) -> StepLoss:
        return gradients(policy, objective_of(policy, used, make_spec(tiny_folder, method=method)))[0]

    plain = metrics(Method(), data._replace(anchors=()))
    both = metrics(Method(options=MethodOptions(anchors="both", surgery=True)), data)
    instead = metrics(Method(options=MethodOptions(anchors="prompts")), data)
    decided = metrics(Method(options=MethodOptions(anchors="both", anchor_kl="decision")), data)
    assert 0 < decided.more["anchor_kl"] < both.more["anchor_kl"]
    assert (both.ce, both.kl) == pytest.approx((plain.ce, plain.kl), rel=1e-5)
    assert both.loss == pytest.approx(plain.loss + 0.5 * both.more["anchor_kl"], rel=1e-5)
    assert instead.kl == 0.0
    assert instead.loss == pytest.approx(plain.ce + 0.5 * both.more["anchor_kl"], rel=1e-5)


def test_surgery_needs_something_to_protect() -> None:
    with pytest.raises(ValueError, match=r"surgery needs an anchor: sft with kl_weight 0\.5 has none"):
        Method(name="sft", options=MethodOptions(surgery=True))
    Method(name="sft", options=MethodOptions(surgery=True, anchors="prompts"))
