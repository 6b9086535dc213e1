from __future__ import annotations

import pytest
import torch

from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.generate import LONG_PREFIX, Way, answer_ids, by_prefix, greedy_answers
from rolekeeper.lm.load import LoadedModel
from tests.passes import counted_passes
from tests.unit.rolekeeper.lm.conftest import ARCHITECTURES
from tests.unit.rolekeeper.lm.generation.twins import generate_alone


def naive_answer(loaded: LoadedModel, prompt: list[int], max_new_tokens: int) -> str:
    """One prompt, token by token, without a cache."""
    ids = list(prompt)
    for _ in range(max_new_tokens):
        with torch.inference_mode():
            ids.append(int(loaded.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] == loaded.tokenizer.eos_token_id:
            break
    return str(loaded.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True)).strip()


def make_prompts(loaded: LoadedModel) -> list[list[int]]:
    encoder = Encoder(loaded.tokenizer)
    return [
        encoder.encode_prompt("You are the keeper.", [Turn("user", "Who? " * (1 + number * 5 % 7))])
        for number in range(7)
    ]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_batches_equal_the_naive_loop_in_the_order_given(
    tiny_models: dict[str, LoadedModel], architecture: str, batch_size: int
) -> None:
    loaded = tiny_models[architecture]
    prompts = make_prompts(loaded)
    ours = greedy_answers(loaded.model, loaded.tokenizer, prompts, max_new_tokens=9, batch_size=batch_size)
    assert ours == [naive_answer(loaded, prompt, 9) for prompt in prompts]


def test_no_prompts(llama: LoadedModel) -> None:
    assert greedy_answers(llama.model, llama.tokenizer, [], max_new_tokens=9) == []


@pytest.mark.real_model
def test_the_real_model_answers(real_model: LoadedModel) -> None:
    prompts = [
        Encoder(real_model.tokenizer).encode_prompt("", [Turn("user", question)])
        for question in ("What is the capital of France? Answer in one word.", "Say hello.")
    ]
    answers = greedy_answers(real_model.model, real_model.tokenizer, prompts, max_new_tokens=8)
    assert "Paris" in answers[0]
    assert answers == [naive_answer(real_model, prompt, 8) for prompt in prompts]


def test_the_models_own_repetition_penalty_is_heeded(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each prompt as `generate` has it alone: padding must not be penalised with it."""
    prompts = make_prompts(llama)
    plain = answer_ids(llama.model, llama.tokenizer, [(ids,) for ids in prompts], Way(9))
    monkeypatch.setattr(llama.model.generation_config, "repetition_penalty", 1.7)
    ends = frozenset({int(llama.tokenizer.eos_token_id)})
    expected = [generate_alone(llama.model, prompt, 9, ends) for prompt in prompts]
    assert answer_ids(llama.model, llama.tokenizer, [(ids,) for ids in prompts], Way(9)) == expected
    assert expected != plain


def test_a_repetition_penalty_that_is_asked_for_is_the_models_own(
    llama: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the engine and by the naive way alike, which samples take."""
    prompts = [(ids,) for ids in make_prompts(llama)]
    ways = [Way(9, repetition_penalty=1.7), Way(9, temperature=0.7, seed=1, repetition_penalty=1.7)]
    asked = [answer_ids(llama.model, llama.tokenizer, prompts, way) for way in ways]
    monkeypatch.setattr("rolekeeper.lm.generate.find_abilities", lambda _model: None)
    assert [answer_ids(llama.model, llama.tokenizer, prompts, way) for way in ways] == asked
    monkeypatch.setattr(llama.model.generation_config, "repetition_penalty", 1.7)
    own = [way._replace(repetition_penalty=None) for way in ways]
    assert [answer_ids(llama.model, llama.tokenizer, prompts, way) for way in own] == asked
    none = answer_ids(llama.model, llama.tokenizer, prompts, Way(9, repetition_penalty=1))
    assert none != asked[0]
    monkeypatch.setattr(llama.model.generation_config, "repetition_penalty", None)
    assert answer_ids(llama.model, llama.tokenizer, prompts, Way(9)) == none


def test_fewer_rows_where_memory_is_short(llama: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [(ids,) for ids in make_prompts(llama)]
    expected = answer_ids(llama.model, llama.tokenizer, prompts, Way(9))
    with counted_passes() as at_once:
        answer_ids(llama.model, llama.tokenizer, prompts, Way(9))
    monkeypatch.setattr("rolekeeper.lm.generate.available_bytes", lambda _device: 0)
    with counted_passes() as in_turns:
        assert answer_ids(llama.model, llama.tokenizer, prompts, Way(9)) == expected
    assert in_turns.count > 2 * at_once.count


def test_a_prompt_that_comes_twice_is_answered_once(llama: LoadedModel) -> None:
    prompts = [(ids,) for ids in make_prompts(llama)[:2]]
    with counted_passes() as once:
        first, second = answer_ids(llama.model, llama.tokenizer, prompts, Way(9), batch_size=1)
    with counted_passes() as twice:
        again = answer_ids(llama.model, llama.tokenizer, [*prompts, prompts[0]], Way(9), batch_size=1)
    assert again == [first, second, first]
    assert twice.count == once.count


PROFILE_A, PROFILE_B = tuple(range(1, 1 + LONG_PREFIX)), tuple(range(2, 2 + LONG_PREFIX))


@pytest.mark.parametrize(
    ("prompts", "parts"),
    [
        ([(7,)], [[0]]),
        ([(7, 8), (7, 9), (5,)], [[0, 1, 2]]),
        ([(*PROFILE_A, 1), (3,), (*PROFILE_A, 2), (4,)], [[1, 3], [0, 2]]),
        ([(0, *PROFILE_A, 1), (0, *PROFILE_B, 1), (0, *PROFILE_A, 2), (0, *PROFILE_B, 2)], [[0, 2], [1, 3]]),
        ([(*PROFILE_A, 1), (*PROFILE_A, 2)], [[0, 1]]),
        ([(*PROFILE_A, 1), (3,), (3, 1)], [[0, 1, 2]]),
        ([PROFILE_A, PROFILE_A[:-1], (3,)], [[0, 1, 2]]),
    ],
)
def test_prompts_that_share_a_long_beginning_are_a_part(prompts: list[tuple[int, ...]], parts: list[list[int]]) -> None:
    assert by_prefix([(ids,) for ids in prompts]) == [[(prompts[index],) for index in part] for part in parts]


def test_answers_of_two_contexts_are_those_of_each_alone(llama: LoadedModel) -> None:
    prompts = [[*PROFILE_A, 5, number] if number % 2 else [3, number] for number in range(1, 9)]
    together = greedy_answers(llama.model, llama.tokenizer, prompts, 6)
    assert len(by_prefix([(tuple(ids),) for ids in prompts])) == 2
    assert together == [greedy_answers(llama.model, llama.tokenizer, [ids], 6)[0] for ids in prompts]
