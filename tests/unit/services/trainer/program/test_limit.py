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
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.forward import collate, response_logits
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.rbo import KlDirection, token_kl
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.anchors.answers import anchor_samples
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import TrainingData, count_steps
from services.trainer.program.engine import TorchEngine
from services.trainer.program.failures import Diverged
from services.trainer.program.limit import KlLimit, everything_anchored, kl_limit_of
from services.trainer.program.loop import Curves, train
from services.trainer.program.policy import trained_weights
from services.trainer.program.world import ALONE
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
    moved_adapter,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

FLAGGED = [0, 3, 6, 9]


@pytest.fixture(scope="module")
def data(tiny_folder: Path, loaded: LoadedModel) -> TrainingData:
    return load_data(make_spec(tiny_folder), loaded)


@pytest.fixture
def policy(loaded: LoadedModel) -> Iterator[PeftModel]:
    with moved_adapter(loaded) as policy:
        yield policy


def spec_of(folder: Path, limit: float, name: str = "sarft") -> TrainSpec:
    return make_spec(folder, method=Method.model_validate({"name": name, "options": {"kl_limit": limit}}))


def naive_kl(policy: PeftModel, data: TrainingData) -> Tensor:
    """The mean over all flagged samples of their mean token KL, sample by sample, with a gradient."""
    means = []
    for index in FLAGGED:
        batch = collate([data.samples[index]], pad_id=0, device="cpu")
        with torch.no_grad(), policy.disable_adapter():
            base_TV = response_logits(policy, batch)
        means.append(token_kl(response_logits(policy, batch), base_TV, KlDirection.REVERSE).mean())
    return torch.stack(means).mean()


def weights_of(policy: PeftModel) -> list[Tensor]:
    return [weight.detach().clone() for weight in trained_weights(policy).values()]


def test_over_the_limit_weights_go_back_along_the_gradient(
    policy: PeftModel, data: TrainingData, tiny_folder: Path
) -> None:
    """Against the naive twin: theta - (KL - limit) / ||g||^2 g, after which the KL is nearly at the limit."""
    kl = naive_kl(policy, data)
    gradients = torch.autograd.grad(kl, [*trained_weights(policy).values()], materialize_grads=True)
    squared_norm = sum(float(gradient.square().sum()) for gradient in gradients)
    limit, before = 0.98 * kl.item(), weights_of(policy)
    engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
    told = KlLimit(policy, data, spec_of(tiny_folder, limit), limit).hold(engine, 0, learning_rate=1.0)
    factor = (kl.item() - limit) / squared_norm
    assert told["anchor_kl"] == pytest.approx(kl.item(), rel=1e-4)
    assert told["step_back"] == pytest.approx(factor * squared_norm**0.5, rel=1e-2)
    for now, was, gradient in zip(weights_of(policy), before, gradients, strict=True):
        torch.testing.assert_close(now - was, -factor * gradient, rtol=2e-2, atol=1e-6)
    assert naive_kl(policy, data).item() == pytest.approx(limit, rel=2e-3)


def test_the_way_back_is_no_longer_than_a_step(policy: PeftModel, data: TrainingData, tiny_folder: Path) -> None:
    before = weights_of(policy)
    engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
    told = KlLimit(policy, data, spec_of(tiny_folder, 1e-6), 1e-6).hold(engine, 0, learning_rate=1e-4)
    moved = sum(float((now - was).square().sum()) for now, was in zip(weights_of(policy), before, strict=True)) ** 0.5
    longest = 1e-4 * sum(weight.numel() for weight in before) ** 0.5
    assert told["step_back"] == pytest.approx(longest)
    assert moved == pytest.approx(longest, rel=1e-3)


def test_within_the_limit_nothing_moves(policy: PeftModel, data: TrainingData, tiny_folder: Path) -> None:
    before = weights_of(policy)
    engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
    limit = KlLimit(policy, data, spec_of(tiny_folder, 100.0), 100.0)
    told = limit.hold(engine, 0, learning_rate=1.0)
    assert told == {"anchor_kl": limit.measure(ALONE, 1), "step_back": 0.0}
    assert all(torch.equal(now, was) for now, was in zip(weights_of(policy), before, strict=True))


def test_a_kl_that_is_not_finite_names_its_samples(policy: PeftModel, data: TrainingData, tiny_folder: Path) -> None:
    with torch.no_grad():
        next(iter(trained_weights(policy).values())).fill_(float("nan"))
    engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
    with pytest.raises(Diverged, match=r"step 3 .* samples 0, 3, 6, 9 "):
        KlLimit(policy, data, spec_of(tiny_folder, 1.0), 1.0).hold(engine, 2, learning_rate=1.0)


def test_where_nothing_is_anchored_nothing_is_measured(
    policy: PeftModel, data: TrainingData, tiny_folder: Path
) -> None:
    harmless = data._replace(harmful=(False,) * len(data.samples))
    limit = kl_limit_of(policy, harmless, spec_of(tiny_folder, 1.0))
    assert limit is not None
    assert limit.hold(TorchEngine(policy, HYPERPARAMETERS, num_steps=1), 0, 1.0) == {}
    assert limit.measure(ALONE, 1) is None
    assert kl_limit_of(policy, data, make_spec(tiny_folder)) is None


def test_prompts_are_anchored_after_the_samples(data: TrainingData, tiny_folder: Path, loaded: LoadedModel) -> None:
    anchors = anchor_samples(loaded, make_spec(tiny_folder))[:2]
    weighed = data._replace(anchors=anchors, token_weights={index: torch.zeros(1) for index in FLAGGED})
    both = everything_anchored(weighed, Method(options=MethodOptions(anchors="both")))
    assert both.samples == (*data.samples, *anchors)
    assert [index for index, flag in enumerate(both.harmful) if flag] == [*FLAGGED, 10, 11]
    assert both.token_weights is not None
    assert both.token_weights[11].tolist() == [1.0] * len(anchors[1].response_ids)
    sft = everything_anchored(weighed, Method(name="sft", options=MethodOptions(anchors="both")))
    assert [index for index, flag in enumerate(sft.harmful) if flag] == [10, 11]


def trained(loaded: LoadedModel, data: TrainingData, folder: Path, limit: float) -> Curves:
    """A short training."""
    hyper = HYPERPARAMETERS.model_copy(update={"epochs": 6})
    spec = spec_of(folder, limit).model_copy(update={"hyperparameters": hyper})
    with fresh_adapter(loaded.model, hyper) as policy:
        engine = TorchEngine(policy, hyper, count_steps(len(data.samples), hyper))
        checkpoints = Checkpoints(folder / "none", "run", least_seconds=1000.0)
        return train(policy, engine, data, spec, checkpoints, lambda _progress: None)


def test_a_training_keeps_the_limit_and_learns(loaded: LoadedModel, data: TrainingData, tiny_folder: Path) -> None:
    free = trained(loaded, data, tiny_folder, 100.0)
    assert free.anchor_kl is not None
    limit = free.anchor_kl / 4
    held = trained(loaded, data, tiny_folder, limit)
    assert held.anchor_kl is not None
    assert held.anchor_kl < 1.2 * limit
    assert free.losses[-1] < held.losses[-1] < held.losses[0]
