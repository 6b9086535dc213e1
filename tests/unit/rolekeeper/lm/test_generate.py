from __future__ import annotations

import pytest
import torch

from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.generate import greedy_answers
from rolekeeper.lm.load import LoadedModel
from tests.unit.rolekeeper.lm.conftest import ARCHITECTURES


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
