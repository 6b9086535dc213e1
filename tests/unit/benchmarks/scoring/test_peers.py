from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.scoring.__main__ import score_ours
from benchmarks.scoring.peers import PeerMissing, harness, harness_class, official, plain_copy, response_only
from benchmarks.scoring.synthetic import Shape, Spread, make_workload
from benchmarks.scoring.workload import Workload, check_agreement
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.linear import OneDnnLinear
from rolekeeper.lm.load import LoadedModel, load_base

SMALL = Shape(role=700, unsafe=900, question=Spread(12, 0.4), response=Spread(9, 0.5), all_references=True)


@pytest.fixture(scope="module")
def loaded(tiny_catalog: Path) -> LoadedModel:
    return load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")


@pytest.fixture(scope="module")
def workload(loaded: LoadedModel) -> Workload:
    return make_workload(loaded.tokenizer, SMALL, num_samples=7)


def test_peers_score_the_same(loaded: LoadedModel, workload: Workload) -> None:
    plain = plain_copy(loaded.model)
    ours = score_ours(loaded.model, workload)
    assert len(ours) == 3 * 7
    check_agreement("response_only", response_only(plain, 4)(workload.requests), ours, workload)
    check_agreement("official", official(plain, 0, workload), ours, workload)


def test_the_harness_scores_the_same(loaded: LoadedModel, workload: Workload) -> None:
    pytest.importorskip("lm_eval", reason="the extra `bench` is not installed")
    theirs = harness(plain_copy(loaded.model), loaded.tokenizer, 4)(workload.requests)
    check_agreement("harness", theirs, score_ours(loaded.model, workload), workload)


def test_the_copy_is_of_transformers_own_layers(loaded: LoadedModel) -> None:
    before = torch.random.get_rng_state()
    plain = plain_copy(loaded.model)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not any(isinstance(module, OneDnnLinear) for module in plain.modules())
    assert not any(weight.requires_grad for weight in plain.parameters())
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name]), name


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "lm_eval.models.huggingface", raising=False)
    with pytest.raises(PeerMissing, match=r"pip install '\.\[bench\]'"):
        harness_class()
