from __future__ import annotations

import pytest
import torch

from rolekeeper.errors import ClientGone
from rolekeeper.lm.generation.abilities import find_abilities
from rolekeeper.lm.generation.choose import Chooser, random_of
from rolekeeper.lm.generation.engine import Engine, Limits, Rules
from rolekeeper.lm.load import LoadedModel
from tests.passes import counted_passes
from tests.unit.rolekeeper.lm.conftest import ARCHITECTURES
from tests.unit.rolekeeper.lm.generation.twins import (
    ends_within,
    generate_alone,
    logits_after,
    random_ends,
    random_prompts,
)

TOKENS = 14


def run(loaded: LoadedModel, prompts: list[list[int]], rules: Rules, limits: Limits) -> list[list[int]]:
    abilities = find_abilities(loaded.model)
    assert abilities is not None
    engine = Engine(loaded.model, rules, limits, shares_prefix=abilities.window is None)
    return engine.run([(prompt,) for prompt in prompts])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "limits", [Limits(1), Limits(3), Limits(7, max_new_prompt_tokens=50), Limits(64)], ids=["1", "3", "7-short", "64"]
)
def test_greedy_ids_are_those_of_generate(
    tiny_models: dict[str, LoadedModel], architecture: str, limits: Limits
) -> None:
    """Prompts of all lengths, rows that end early and are filled again, whatever runs together."""
    loaded = tiny_models[architecture]
    prompts = random_prompts(loaded, limits.max_rows, count=16)
    ends = ends_within(loaded, prompts, TOKENS)
    expected = [generate_alone(loaded.model, prompt, TOKENS, ends) for prompt in prompts]
    assert len({len(ids) for ids in expected}) > 2
    assert run(loaded, prompts, Rules(TOKENS, ends), limits) == expected


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_long_answers_move_the_window_and_stay_those_of_generate(
    tiny_models: dict[str, LoadedModel], architecture: str
) -> None:
    loaded = tiny_models[architecture]
    prompts, ends = random_prompts(loaded, 5, count=4, longest=70), random_ends(loaded, seed=2, share=0.01)
    expected = [generate_alone(loaded.model, prompt, 80, ends) for prompt in prompts]
    assert run(loaded, prompts, Rules(80, ends), Limits(2)) == expected


def test_a_prefix_is_shared_or_not_with_the_same_answers(llama: LoadedModel) -> None:
    rules = Rules(TOKENS, random_ends(llama, seed=3))
    prompts = [(prompt,) for prompt in random_prompts(llama, 3, count=9, shared=30)]
    shared, unshared = (Engine(llama.model, rules, Limits(4), shares).run(prompts) for shares in (True, False))
    assert shared == unshared


def test_near_ties_are_decided_by_the_prompt_alone(llama: LoadedModel) -> None:
    """Two tokens with the same output weights always tie; the model's own forward says which is first."""
    twins = (5, 9)
    head = llama.model.get_output_embeddings().weight
    kept = head.data.clone()
    try:
        head.data[twins[1]] = head.data[twins[0]]
        head.data[list(twins)] *= 3
        prompts, ends = random_prompts(llama, 4, count=12), frozenset({0})
        expected = [generate_alone(llama.model, prompt, TOKENS, ends) for prompt in prompts]
        assert any(twins[0] in ids for ids in expected)
        assert run(llama, prompts, Rules(TOKENS, ends), Limits(5)) == expected
    finally:
        head.data = kept


def test_samples_are_those_of_the_naive_loop_whatever_runs_together(llama: LoadedModel) -> None:
    ends, chooser = random_ends(llama, seed=6), Chooser(temperature=0.9, top_p=0.8)
    prompts = random_prompts(llama, 6, count=10)
    expected = []
    for prompt in prompts:
        ids: list[int] = []
        random = random_of(11, prompt)
        while len(ids) < TOKENS and not (ids and ids[-1] in ends):
            ids += chooser.choose(logits_after(llama.model, prompt + ids).unsqueeze(0), [random.random()]).tokens
        expected.append(ids)
    rules = Rules(TOKENS, ends, chooser, seed=11)
    assert run(llama, prompts, rules, Limits(3)) == run(llama, prompts[::-1], rules, Limits(64))[::-1] == expected
    assert run(llama, prompts, rules._replace(seed=12), Limits(64)) != expected


@pytest.mark.parametrize("architecture", ["smollm2", "gemma2"])
def test_contrasted_branches_get_the_same_token(tiny_models: dict[str, LoadedModel], architecture: str) -> None:
    """Naive twin: two branches, each run anew for every token, which is appended to both."""
    loaded = tiny_models[architecture]
    ends, weights = random_ends(loaded, seed=7), (1.0, -0.5)
    prompts = list(zip(random_prompts(loaded, 7, count=9), random_prompts(loaded, 8, count=9, longest=60), strict=True))
    expected = []
    for positive, reverse in prompts:
        ids: list[int] = []
        while len(ids) < TOKENS and not (ids and ids[-1] in ends):
            contrast_V = logits_after(loaded.model, positive + ids) - 0.5 * logits_after(loaded.model, reverse + ids)
            ids.append(int(contrast_V.argmax()))
        expected.append(ids)
    assert expected != [generate_alone(loaded.model, positive, TOKENS, ends) for positive, _ in prompts]
    engine = Engine(loaded.model, Rules(TOKENS, ends, weights=weights), Limits(6), shares_prefix=False)
    assert engine.run(prompts) == expected


def test_work_ends_when_nobody_waits_for_it(llama: LoadedModel) -> None:
    left = [3]

    def check() -> None:
        left[0] -= 1
        if not left[0]:
            raise ClientGone("gone")

    engine = Engine(llama.model, Rules(TOKENS, frozenset()), Limits(4), before_pass=check)
    with counted_passes() as passes, pytest.raises(ClientGone):
        engine.run([(prompt,) for prompt in random_prompts(llama, 9, count=4)])
    assert passes.count == 3  # the shared prefix, the prompts, and one token of each


def test_rows_that_have_ended_take_no_part(llama: LoadedModel) -> None:
    """Every answer ends with its first token: each pass holds new prompts only."""
    prompts = random_prompts(llama, 10, count=8)
    ends = frozenset(range(llama.model.config.vocab_size))
    with counted_passes() as passes:
        ids = run(llama, prompts, Rules(TOKENS, ends), Limits(4))
    assert passes.count == 3
    assert [len(answer) for answer in ids] == [1] * 8
    assert ids == [generate_alone(llama.model, prompt, 1, ends) for prompt in prompts]


@pytest.mark.real_model
def test_the_real_model_answers_as_generate_does(real_model: LoadedModel) -> None:
    prompts = random_prompts(real_model, 11, count=5, shared=20, longest=12)
    ends = frozenset({real_model.model.config.eos_token_id})
    expected = [generate_alone(real_model.model, prompt, 6, ends) for prompt in prompts]
    assert run(real_model, prompts, Rules(6, ends), Limits(3)) == expected
    assert torch.is_inference_mode_enabled() is False
