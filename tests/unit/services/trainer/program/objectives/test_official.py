"""Shapes: S positions of one sample, V vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.contracts.jobs import Method
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.rbo import KlDirection, official_terms
from services.trainer.program.card import render_card
from services.trainer.program.data import GlobalBatch, TrainingData
from services.trainer.program.engine import TorchEngine
from services.trainer.program.objectives.choose import objective_of
from services.trainer.program.objectives.official import OfficialLoss
from services.trainer.program.objectives.rbo import KlTerm, kl_term
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
    moved_adapter,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

BATCH = GlobalBatch(0, (0, 1, 2, 5, 6))
TERM = KlTerm(2.0, KlDirection.FORWARD)
OFFICIAL = MethodOptions(compat="official")


def gradients(policy: PeftModel) -> list[Tensor]:
    found = [weight.grad.clone() for weight in policy.parameters() if weight.grad is not None]
    policy.zero_grad()
    return found


def naive_loss(policy: PeftModel, data: TrainingData) -> Tensor:
    """Sample by sample, on the whole logits of the model's own forward: the mean of CE + weight * flag * KL."""
    losses = []
    for index in BATCH.indices:
        sample = data.samples[index]
        ids_S = torch.tensor([*sample.prompt_ids, *sample.response_ids])
        policy_SV = policy(input_ids=ids_S[None]).logits[0]
        with torch.no_grad(), policy.disable_adapter():
            reference_SV = policy(input_ids=ids_S[None]).logits[0]
        ce, kl = official_terms(policy_SV, reference_SV, ids_S, len(sample.prompt_ids))
        losses.append(ce + TERM.weight * kl if data.harmful[index] else ce)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("max_batch_tokens", [1, 150, 100_000])
def test_loss_and_gradient_are_those_of_the_naive_twin(
    tiny_folder: Path, loaded: LoadedModel, max_batch_tokens: int
) -> None:
    data = load_data(make_spec(tiny_folder, method=Method(options=OFFICIAL)), loaded)
    with moved_adapter(loaded) as policy:
        engine = TorchEngine(policy, HYPERPARAMETERS, num_steps=1)
        ours = OfficialLoss(policy, data, TERM, max_batch_tokens).backward(engine, BATCH)
        our_gradients = gradients(policy)
        expected = naive_loss(policy, data)
        torch.autograd.backward(expected)
        theirs = gradients(policy)
    assert ours.kl > 0.01
    assert ours.loss == pytest.approx(expected.item(), rel=1e-5)
    assert ours.loss == pytest.approx(ours.ce + 2.0 * ours.kl, rel=1e-6)
    assert ours.num_tokens == sum(
        len(data.samples[index].prompt_ids) + len(data.samples[index].response_ids) for index in BATCH.indices
    )
    for mine, naive in zip(our_gradients, theirs, strict=True):
        torch.testing.assert_close(mine, naive, rtol=1e-4, atol=1e-6)


def test_the_option_chooses_it(tiny_folder: Path, loaded: LoadedModel) -> None:
    with moved_adapter(loaded) as policy:
        for name, weight in (("sarft", 0.5), ("sft", 0.0)):
            method = Method.model_validate({"name": name, "options": {"compat": "official"}})
            spec = make_spec(tiny_folder, method=method)
            assert kl_term(method) == KlTerm(weight, KlDirection.FORWARD)
            assert isinstance(objective_of(policy, load_data(spec, loaded), spec), OfficialLoss)


def test_the_card_says_so(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder, method=Method(options=OFFICIAL))
    card = render_card(spec, loaded.entry, load_data(spec, loaded), "d1", None)
    assert "forward KL" in card
    assert "as in SaRFT's released code" in card


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kl_direction": "reverse"}, "whose KL is forward: leave kl_direction out"),
        ({"name": "vaccine"}, "vaccine has another: leave it out"),
        ({"options": {"anchors": "both", "surgery": True}}, "has no anchors, surgery: leave it out"),
        ({"options": {"kl_limit": 0.1}}, "has no kl_limit"),
        ({"options": {"weigh_tokens": "margin"}}, "has no weigh_tokens"),
    ],
)
def test_nothing_may_change_it(asked: dict[str, object], message: str) -> None:
    options = asked.get("options", {})
    assert isinstance(options, dict)
    with pytest.raises(ValueError, match=message):
        Method.model_validate({**asked, "options": {"compat": "official", **options}})
