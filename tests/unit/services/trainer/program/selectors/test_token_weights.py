"""Shapes: T response tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from rolekeeper.contracts.jobs import Method, Progress
from rolekeeper.contracts.methods import MethodOptions
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.forward import collate, naive_logprobs, response_logits
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.prompts import build_contexts
from rolekeeper.method.rbo import KlDirection, ce_sum, token_kl
from rolekeeper.method.token_weights import margin_weights
from services.trainer.program.data import GlobalBatch, TrainingData, encode_line, make_encoder
from services.trainer.program.failures import BadData, BadSpec
from services.trainer.program.objectives.divergence import KlLoss
from services.trainer.program.objectives.parts import HarmfulKl
from services.trainer.program.objectives.rbo import KlTerm, RboLoss
from services.trainer.program.objectives.surgery import Gradients
from services.trainer.program.selectors.token_weights import with_token_weights
from tests.unit.services.trainer.program.runs import (
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_samples,
    make_spec,
    moved_adapter,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

TERM = KlTerm(2.0, KlDirection.REVERSE)
BATCH = GlobalBatch(0, tuple(range(10)))


@pytest.fixture(scope="module")
def spec(tiny_folder: Path) -> TrainSpec:
    return make_spec(tiny_folder, method=Method(options=MethodOptions(weigh_tokens="margin")))


def weigh(spec: TrainSpec, loaded: LoadedModel, reports: list[Progress] | None = None) -> TrainingData:
    reports = [] if reports is None else reports
    return with_token_weights(load_data(spec, loaded), make_samples(), loaded, spec, reports.append)


@pytest.fixture
def policy(loaded: LoadedModel) -> Iterator[PeftModel]:
    with moved_adapter(loaded) as policy:
        yield policy


def test_weights_are_those_of_the_margins_of_each_sample_alone(spec: TrainSpec, loaded: LoadedModel) -> None:
    reports: list[Progress] = []
    data = weigh(spec, loaded, reports)
    assert data.token_weights is not None
    assert [*data.token_weights] == [index for index, harmful in enumerate(data.harmful) if harmful]
    contexts = build_contexts(spec.profile.name, spec.profile.profile)
    for index, weights_T in data.token_weights.items():
        unsafe_T, safe_T = (
            naive_logprobs(
                loaded.model, encode_line(make_encoder(loaded, spec), system, make_samples()[index].dialogue, "")
            )
            for system in (contexts.unsafe, contexts.safe)
        )
        torch.testing.assert_close(weights_T, margin_weights(unsafe_T - safe_T), rtol=1e-3, atol=1e-3)
        assert not bool((weights_T == 1).all())
    assert (reports[-1].done, reports[-1].total, reports[-1].unit) == (4, 4, "samples looked at")


def test_the_kl_of_a_batch_is_weighted_token_by_token(spec: TrainSpec, loaded: LoadedModel, policy: PeftModel) -> None:
    """With and without CE in the same pass, whatever the micro-batches."""
    with policy.disable_adapter():
        data = weigh(spec, loaded)
    expected = naive_loss(policy, data)
    weights = [weight for weight in policy.parameters() if weight.requires_grad]
    expected_gradients = torch.autograd.grad(expected, weights)
    kept = Gradients(weights)
    ours = RboLoss(policy, data, TERM, 300).backward(kept, BATCH)
    assert ours.loss == pytest.approx(expected.item(), rel=1e-4)
    for mine, theirs in zip(kept.sums, expected_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    alone = HarmfulKl(KlLoss(policy, data, TERM, 300), data.harmful, TERM.weight).backward(Gradients(weights), BATCH)
    assert alone.kl == pytest.approx(ours.kl, rel=1e-4)
    even = RboLoss(policy, data._replace(token_weights=None), TERM, 300).backward(Gradients(weights), BATCH)
    assert abs(even.kl - ours.kl) > 0.001 * even.kl


def naive_loss(policy: PeftModel, data: TrainingData) -> torch.Tensor:
    """CE of all, and sample by sample the mean over the tokens of weight * KL."""
    assert data.token_weights is not None
    num_tokens = sum(len(sample.response_ids) for sample in data.samples)
    loss = torch.zeros(())
    for index, sample in enumerate(data.samples):
        batch = collate([sample], pad_id=0, device="cpu")
        policy_TV = response_logits(policy, batch)
        loss = loss + ce_sum(policy_TV, batch.labels_T) / num_tokens
        if index in data.token_weights:
            with torch.no_grad(), policy.disable_adapter():
                base_TV = response_logits(policy, batch)
            kl_T = token_kl(policy_TV, base_TV, TERM.direction)
            loss = loss + TERM.weight * (data.token_weights[index] * kl_T).mean() / len(data.samples)
    return loss


def test_a_dialogue_that_does_not_fit_under_the_prompts_is_named(spec: TrainSpec, loaded: LoadedModel) -> None:
    long = spec.model_copy(
        update={"profile": spec.profile.model_copy(update={"profile": "You keep the light. " * 900})}
    )
    with pytest.raises(BadData, match=r"samples\.jsonl, line 1: "):
        weigh(long, loaded)


def test_the_released_prompts_are_refused(spec: TrainSpec, loaded: LoadedModel) -> None:
    paper = spec.model_copy(update={"method": spec.method.model_copy(update={"prompt_set": "paper_v2"})})
    with pytest.raises(BadSpec, match="take contrast or append"):
        weigh(paper, loaded)


def test_without_the_option_nothing_is_computed(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = make_spec(tiny_folder)
    assert weigh(spec, loaded).token_weights is None
