"""Greedy answers to the recipe's requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from benchmarks.align_base.data import Request
from rolekeeper.lm.encode import Encoder, Turn
from rolekeeper.lm.generate import greedy_answers

Progress = Callable[[int, int], None]
CHUNK = 64


def answer_requests(
    model: PreTrainedModel, encoder: Encoder, requests: Sequence[Request], max_tokens: int, progress: Progress
) -> list[str]:
    """Greedy answers in the order of the requests, each of at most `max_tokens` tokens."""
    prompts = [encoder.encode_prompt(request.system, [Turn("user", request.user)]) for request in requests]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers = [""] * len(prompts)
    for start in range(0, len(order), CHUNK):
        indices = order[start : start + CHUNK]
        texts = greedy_answers(model, encoder.tokenizer, [prompts[index] for index in indices], max_tokens)
        for index, text in zip(indices, texts, strict=True):
            answers[index] = text
        progress(start + len(indices), len(order))
    return answers
