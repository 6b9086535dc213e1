from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch.nn import functional

from benchmarks.align_base.train import (
    EncodedScene,
    Hyperparameters,
    Samples,
    Step,
    backward,
    draw_steps,
    in_turn,
    lora_config,
    train_adapter,
)
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import collate, response_logits
from rolekeeper.lm.load import LoadedModel, load_base

NUMBERS = Hyperparameters(rank=2, alpha=4, steps=40, kept=1, first_weight=0.7, kept_weight=1.5, learning_rate=1e-2)


@pytest.fixture
def loaded(tiny_catalog: Path) -> LoadedModel:
    return load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")


def sample(rng: random.Random, num_response: int) -> EncodedSample:
    return EncodedSample(
        [7, 8, 9, *rng.choices(range(5, 60), k=4)], rng.choices(range(5, 60), k=num_response), False, 0
    )


def scene(rng: random.Random) -> EncodedScene:
    return EncodedScene([sample(rng, length) for length in (4, 5)], [sample(rng, 3) for _ in range(3)])


def draw_samples() -> Samples:
    rng = random.Random(3)
    return Samples(plain=[scene(rng)], role=[scene(rng)], kept=[sample(rng, 7)])


def logits_of(model: torch.nn.Module, one: EncodedSample) -> torch.Tensor:
    return response_logits(model, collate([one], pad_id=0, device="cpu")).float()


def naive_loss(policy: PeftModel, step: Step) -> torch.Tensor:
    """Sample by sample: CE a token, 0.7 * mean over answered of the summed KL, 1.5 * mean KL of the kept text."""
    nll = [
        functional.cross_entropy(logits_of(policy, one), torch.tensor(one.response_ids), reduction="sum")
        for one in step.refused
    ]
    loss = torch.stack(nll).sum() / sum(len(one.response_ids) for one in step.refused)
    for reference, weight in ((step.answered, 0.7 / 6), (step.kept, 1.5 / 7)):
        for one in reference.samples:
            with policy.disable_adapter(), torch.no_grad():
                target = logits_of(policy, one).log_softmax(-1)
            kl = functional.kl_div(logits_of(policy, one).log_softmax(-1), target, reduction="sum", log_target=True)
            loss = loss + weight * kl
    return loss


def test_a_step_has_the_gradient_of_the_loss_sample_by_sample(loaded: LoadedModel) -> None:
    policy = get_peft_model(loaded.model, lora_config(NUMBERS))
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        for weight in weights:
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    step = next(draw_steps(policy, draw_samples(), NUMBERS, random.Random(0)))
    assert (len(step.refused), len(step.answered.samples)) == (4, 6)
    expected = naive_loss(policy, step)
    expected_grads = torch.autograd.grad(expected, weights)
    losses = backward(policy, step, NUMBERS)
    total = losses.refused + 0.7 * losses.answered + 1.5 * losses.kept
    assert total == pytest.approx(expected.item(), rel=1e-4)
    for weight, expected_grad in zip(weights, expected_grads, strict=True):
        torch.testing.assert_close(weight.grad, expected_grad, rtol=1e-3, atol=1e-6)


def test_training_lowers_the_loss_of_refusals_and_repeats_itself(loaded: LoadedModel, tiny_catalog: Path) -> None:
    seen: list[float] = []
    policy = train_adapter(loaded.model, draw_samples(), NUMBERS, 1, lambda *told: seen.append(told[2].refused))
    assert seen[-1] < seen[0]
    again = load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")
    second = train_adapter(again.model, draw_samples(), NUMBERS, 1, lambda *_: None)
    for one, other in zip(policy.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_every_item_has_its_turn_before_any_has_another() -> None:
    turns = in_turn(range(5), random.Random(0))
    assert sorted(islice(turns, 5)) == sorted(islice(turns, 5)) == [0, 1, 2, 3, 4]
