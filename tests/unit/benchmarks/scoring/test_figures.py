from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scoring import machine
from benchmarks.scoring.figures import bounds_of, lengths_of, rates_of
from benchmarks.scoring.floor import ModelSize, measure_size
from benchmarks.scoring.workload import Character, Pair, Workload, encode_character
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.encode import EncodedSample, Encoder
from rolekeeper.lm.load import LoadedModel, load_base
from rolekeeper.method.prompts import PromptSet, build_contexts
from tests.tiny_tokenizers import make_tiny_tokenizer


@pytest.fixture(scope="module")
def loaded(tiny_catalog: Path) -> LoadedModel:
    return load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")


def sample(prompt_ids: list[int], num_response: int) -> EncodedSample:
    return EncodedSample(prompt_ids, [9] * num_response, truncated=False, dropped_messages=0)


def test_bounds_by_hand() -> None:
    # 2P = 20, 2dV = 60, A = 1, and one context three times: a prefix of 2, then two prompts of 3 with responses of 2.
    # Alone: twice 4 tokens and 10 pairs. Shared: 2 + 2 + 2 tokens; 3 + 2 x 3 + 2 x 4 pairs.
    context = (sample([1, 2, 3], 2), sample([1, 2, 4], 2))
    bounds = bounds_of(ModelSize(10, 3, 10, 1), Workload((Character(context, context, context),)))
    shared = 6 * 20 + 17 + 4 * 60
    assert bounds["bound"] == pytest.approx((2 * (4 * 80 + 10)) / shared)
    assert bounds["bound_response_only"] == pytest.approx((2 * (4 * 20 + 10) + 4 * 60) / shared)


def test_lengths_are_those_of_the_texts() -> None:
    encoder = Encoder(make_tiny_tokenizer())
    questions, responses = ("What now?", "Who is there at the door?"), ("Nothing.", "The keeper is.")
    pairs = [Pair(question, response) for question, response in zip(questions, responses, strict=True)]
    character = encode_character(encoder, build_contexts("Keeper", "You keep.", PromptSet.APPEND).scored, pairs)
    lengths = lengths_of(encoder.tokenizer, Workload((character,)))
    ids = [len(encoder.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in questions]
    assert lengths["x"] == pytest.approx(sum(ids) / 2)
    assert lengths["x_sd"] == pytest.approx(abs(ids[0] - ids[1]) / 2)
    assert lengths["y"] == sum(len(s.response_ids) for s in character.role) / 2
    assert lengths["U"] > lengths["R"] > lengths["plain"]


def test_efficiency_is_ours_over_the_machine(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FLOPS", 1.0)  # one product of each shape is enough here
    context = (sample([1, 2, 3], 2), sample([1, 2, 4], 2))
    workload = Workload((Character(context, context, context),))
    rates = rates_of(measure_size(loaded.model), workload, loaded.model, seconds=0.5)
    assert rates["samples_per_second"] == 4
    assert rates["gflops_per_second"] is not None
    assert rates["gemm_gflops_per_second"] is not None
    assert rates["efficiency"] == pytest.approx(rates["gflops_per_second"] / rates["gemm_gflops_per_second"])
