"""Decoding for models that the engine can't run: transformers' `generate`, or one forward pass for each token.

Shapes: B samples, S positions (padded), V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel

from rolekeeper.lm.generation.choose import random_of
from rolekeeper.lm.generation.engine import Prompt, Rules, combine, logits_alone

BATCH_SIZE = 32


def generate_ids(
    model: PreTrainedModel,
    prompts: Sequence[Prompt],
    rules: Rules,
    config: GenerationConfig,
    before_pass: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Return the token ids of each answer, with its end token if it has ended by itself.

    What is not greedy over one branch takes a forward pass for each token of each answer, which is slow.
    """
    if rules.chooser.temperature > 0 or rules.weights != (1.0,):
        return [_naive_ids(model, prompt, rules, before_pass) for prompt in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index][0]))
    for start in range(0, len(order), BATCH_SIZE):
        before_pass()
        indices = order[start : start + BATCH_SIZE]
        batch = _generate_batch(model, [prompts[index][0] for index in indices], config)
        for index, ids in zip(indices, batch, strict=True):
            answers[index] = _until_end(ids, rules.end_ids)
    return answers


def _generate_batch(
    model: PreTrainedModel, prompts_ids: Sequence[Sequence[int]], config: GenerationConfig
) -> list[list[int]]:
    width = max(len(ids) for ids in prompts_ids)
    input_ids_BS = torch.full((len(prompts_ids), width), int(config.pad_token_id or 0))
    attention_mask_BS = torch.zeros((len(prompts_ids), width), dtype=torch.long)
    for row, ids in enumerate(prompts_ids):
        input_ids_BS[row, width - len(ids) :] = torch.tensor(list(ids))
        attention_mask_BS[row, width - len(ids) :] = 1
    with torch.inference_mode():
        output_BS = cast(Any, model).generate(
            inputs=input_ids_BS.to(model.device),
            attention_mask=attention_mask_BS.to(model.device),
            generation_config=config,
        )
    return cast(list[list[int]], output_BS[:, width:].tolist())


def _until_end(ids: Sequence[int], end_ids: frozenset[int]) -> list[int]:
    """Without what pads an answer that ended before others."""
    for position, token in enumerate(ids):
        if token in end_ids:
            return list(ids[: position + 1])
    return list(ids)


def _naive_ids(model: PreTrainedModel, prompt: Prompt, rules: Rules, before_pass: Callable[[], None]) -> list[int]:
    ids: list[int] = []
    random = random_of(rules.seed, prompt[0])
    with torch.inference_mode():
        while len(ids) < rules.max_new_tokens and not (ids and ids[-1] in rules.end_ids):
            before_pass()
            logits_NV = torch.cat([logits_alone(model, [*branch, *ids]) for branch in prompt])
            logits_SV = combine(logits_NV.unsqueeze(0), rules.weights)
            if rules.process is not None:
                logits_SV = rules.process(prompt[0], ids, logits_SV[0]).unsqueeze(0)
            ids += rules.chooser.choose(logits_SV, [random.random()]).tokens
    return ids
