"""Batched greedy decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def greedy_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_size: int = 32,
) -> list[str]:
    """Return the most likely answer to each prompt, in the order given, without its end-of-turn token.

    Prompts of like length share a left-padded batch. Answers end at the model's or the tokenizer's end token, or after
    `max_new_tokens`.
    """
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=_end_ids(model, tokenizer), pad_token_id=pad_id
    )
    answers = [""] * len(prompts_ids)
    order = sorted(range(len(prompts_ids)), key=lambda index: -len(prompts_ids[index]))
    for start in range(0, len(order), batch_size):
        indices = order[start : start + batch_size]
        texts = _answer_batch(model, tokenizer, [prompts_ids[index] for index in indices], config)
        for index, text in zip(indices, texts, strict=True):
            answers[index] = text
    return answers


def _answer_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts_ids: Sequence[Sequence[int]],
    config: GenerationConfig,
) -> list[str]:
    width = max(len(ids) for ids in prompts_ids)
    input_ids_BS = torch.full((len(prompts_ids), width), int(config.pad_token_id))
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
    return [text.strip() for text in tokenizer.batch_decode(output_BS[:, width:], skip_special_tokens=True)]


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Chat models often list more end tokens in their generation config than the tokenizer knows of."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return sorted(end for end in ends if end is not None)
