"""Shapes: S positions of one sample, V vocabulary."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.scoring.peers import PeerMissing, pad_left, plain_copy
from benchmarks.scoring.synthetic import Shape, Spread, make_workload
from benchmarks.scoring.workload import Character, Workload
from benchmarks.training.ours import KL_WEIGHT, Ours
from benchmarks.training.peers import Peer, official_flags, official_loss
from benchmarks.training.workload import Rows, greatest_difference, make_rows
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.forward import naive_logprobs
from rolekeeper.lm.load import LoadedModel, load_base
from tests.unit.services.trainer.program.runs import give_effect

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

SMALL = Shape(role=700, unsafe=900, question=Spread(12, 0.4), response=Spread(9, 0.5))
HYPER = Hyperparameters(batch_size=4, warmup_share=0.0, learning_rate=1e-2, lora_rank=8, epochs=1)


@pytest.fixture(scope="module")
def loaded(tiny_catalog: Path) -> LoadedModel:
    return load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")


@pytest.fixture(scope="module")
def rows(loaded: LoadedModel) -> Rows:
    return make_rows(make_workload(loaded.tokenizer, SMALL, num_samples=8), share=0.5)


def peer_of(loaded: LoadedModel, rows: Rows) -> Peer:
    return Peer(loaded.model, loaded.tokenizer, rows, HYPER, batch=2)


def test_losses_without_anchor_are_those_of_trl(loaded: LoadedModel, rows: Rows) -> None:
    pytest.importorskip("trl", reason="the extra `bench` is not installed")
    ours = Ours(loaded, rows, HYPER, 2048).train(0.0, epochs=1)
    assert ours.losses[1] < ours.losses[0]
    for checkpointing in (False, True):
        theirs = peer_of(loaded, rows).trl(checkpointing)
        assert greatest_difference(ours.losses, theirs.losses) < 1e-4


def test_ours_times_every_epoch(loaded: LoadedModel, rows: Rows) -> None:
    outcome = Ours(loaded, rows, HYPER, 2048).train(KL_WEIGHT, epochs=2)
    assert (len(outcome.epoch_seconds), len(outcome.losses)) == (2, 4)
    assert min(outcome.epoch_seconds) > 0


def test_the_official_flags_are_those_of_whole_forward_passes(loaded: LoadedModel, rows: Rows) -> None:
    role, unsafe = (pad_left(context, 0) for context in rows.contexts[:2])
    flags = official_flags(plain_copy(loaded.model), role, unsafe)
    role_means, unsafe_means = (
        [naive_logprobs(loaded.model, sample).mean() for sample in context] for context in rows.contexts[:2]
    )
    assert flags.tolist() == [bool(u > r) for r, u in zip(role_means, unsafe_means, strict=True)]


def test_the_official_loss_is_that_of_its_formula(loaded: LoadedModel, rows: Rows) -> None:
    peer = peer_of(loaded, rows)
    policy, reference = peer.policy(), plain_copy(loaded.model)
    give_effect(policy)
    samples, flags = rows.contexts.plain[:2], torch.tensor([True, False])
    loss = official_loss(policy, reference, pad_left(samples, 0), flags, kl_weight=0.7)
    expected = 0.0
    for sample, flagged in zip(samples, flags.tolist(), strict=True):
        ids = torch.tensor([[*sample.prompt_ids, *sample.response_ids]])
        with torch.no_grad():
            policy_SV = policy(input_ids=ids).logits[0].log_softmax(-1)
            reference_SV = reference(input_ids=ids).logits[0].log_softmax(-1)
        num_prompt, num_tokens = len(sample.prompt_ids), ids.shape[1]
        ce = -sum(policy_SV[place - 1, ids[0, place]].item() for place in range(num_prompt, num_tokens))
        kl = (reference_SV.exp() * (reference_SV - policy_SV)).sum().item()
        expected += (ce + 0.7 * flagged * kl) / num_tokens / 2
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_an_official_epoch_lowers_the_loss(loaded: LoadedModel, rows: Rows) -> None:
    same = Character(*(context[:1] * 8 for context in rows.contexts))
    losses = peer_of(loaded, make_rows(Workload((same,)), share=0.0)).official().losses
    assert len(losses) == 2
    assert losses[1] < losses[0]


def test_a_missing_package_says_what_to_install(
    loaded: LoadedModel, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PeerMissing, match=r"pip install '\.\[bench\]'"):
        peer_of(loaded, rows).trl(checkpointing=False)
