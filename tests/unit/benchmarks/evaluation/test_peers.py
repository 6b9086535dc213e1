from __future__ import annotations

import pytest

from benchmarks.evaluation.peers import Disagreement, Peers, compare
from benchmarks.evaluation.prompts import make_prompts, starter_questions
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.generate import Way, answer_ids
from rolekeeper.lm.load import LoadedModel, load_base
from tests.tiny import make_tiny_model, write_catalog

TOKENS = 8


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = make_tiny_model(tmp_path_factory.mktemp("base"), architecture="smollm2")
    return load_base(load_catalog(write_catalog(folder / "models.toml", {"tiny": folder}))["tiny"], device="cpu")


def test_all_give_the_same_ids(loaded: LoadedModel) -> None:
    encoder = Encoder(loaded.tokenizer)
    prompts = [encoder.encode_prompt("", [Turn("user", "Who are you? " * number)]) for number in range(1, 5)]
    peers = Peers(loaded.model, loaded.tokenizer, TOKENS)
    ours = answer_ids(loaded.model, loaded.tokenizer, [(ids,) for ids in prompts], Way(TOKENS))
    for theirs in (peers.generate(prompts), peers.pipeline(prompts)):
        agreement = compare(loaded.model, prompts, ours, theirs, tie=1e-3)
        assert (agreement.num_same, agreement.widest_tie) == (4, 0.0)


def test_another_token_is_a_tie_or_a_disagreement(loaded: LoadedModel) -> None:
    prompt = Encoder(loaded.tokenizer).encode_prompt("", [Turn("user", "Who are you?")])
    (ours,) = answer_ids(loaded.model, loaded.tokenizer, [(prompt,)], Way(TOKENS))
    other = [*ours[:3], (ours[3] + 1) % loaded.model.config.vocab_size, *ours[4:]]
    agreement = compare(loaded.model, [prompt], [ours], [other], tie=1e9)
    assert agreement.num_same == 0
    assert agreement.widest_tie > 0
    with pytest.raises(Disagreement, match="at token 3"):
        compare(loaded.model, [prompt], [ours], [other], tie=agreement.widest_tie / 2)
    with pytest.raises(Disagreement, match="goes on"):
        compare(loaded.model, [prompt], [ours], [ours[:3]], tie=1e9)


def test_prompts_are_different_ones(loaded: LoadedModel) -> None:
    assert len(set(starter_questions())) == len(starter_questions()) >= 120
    assert not [text for text in starter_questions() if "{name}" in text]
    assert len({tuple(ids) for ids in make_prompts(loaded.tokenizer, "plain", 30)}) == 30
