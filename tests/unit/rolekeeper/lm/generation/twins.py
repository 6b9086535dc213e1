"""Slow ways to the same answers, and prompts to try them on."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from rolekeeper.lm.load import LoadedModel


def random_prompts(loaded: LoadedModel, seed: int, count: int, shared: int = 9, longest: int = 40) -> list[list[int]]:
    """Prompts of random ids and lengths that begin alike."""
    random, size = Random(seed), loaded.model.config.vocab_size
    head = [random.randrange(size) for _ in range(shared)]
    return [head + [random.randrange(size) for _ in range(random.randint(1, longest))] for _ in range(count)]


def random_ends(loaded: LoadedModel, seed: int, share: float = 0.04) -> frozenset[int]:
    """So many of the tokens end an answer that answers are of all lengths."""
    size = loaded.model.config.vocab_size
    return frozenset(Random(seed).sample(range(size), max(1, int(share * size))))


def ends_within(loaded: LoadedModel, prompts: Sequence[list[int]], num_tokens: int) -> frozenset[int]:
    """Tokens that end answers to these prompts at different places: of some answers the third, fourth, fifth ..."""
    never = frozenset({loaded.model.config.vocab_size - 1})
    answers = [generate_alone(loaded.model, prompt, num_tokens, never) for prompt in prompts[: num_tokens - 2]]
    return frozenset(answer[min(place, len(answer) - 1)] for place, answer in enumerate(answers[::2], start=2))


def generate_alone(model: nn.Module, prompt: Sequence[int], max_new_tokens: int, end_ids: frozenset[int]) -> list[int]:
    """What transformers' `generate` answers to one prompt."""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(end_ids), pad_token_id=min(end_ids)
    )
    input_ids_1S = torch.tensor([list(prompt)])
    with torch.inference_mode():
        output_1S = cast(Any, model).generate(
            inputs=input_ids_1S, attention_mask=torch.ones_like(input_ids_1S), generation_config=config
        )
    return cast(list[int], output_1S[0, len(prompt) :].tolist())


def logits_after(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Logits [V] after some ids, without anything of ours."""
    with torch.inference_mode():
        logits_V: Tensor = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    return logits_V
