"""What a model's own generation settings do to its logits before a token is chosen, such as a repetition penalty.

Shapes: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

Process = Callable[[Sequence[int], Sequence[int], Tensor], Tensor]
"""Prompt ids, the answer's ids so far, and logits [V], to logits [V]."""


def logits_process(model: PreTrainedModel, config: GenerationConfig) -> Process | None:
    """Return what `model.generate` does to the logits of a prompt alone when it decodes greedily by `config`.

    None where it takes them as they are, which is the rule.
    """
    if not _processors(model, config, 1):
        return None
    # They keep nothing between tokens, and to make them takes longer than a token.
    processors_for = cache(partial(_processors, model, config))

    def process(prompt_ids: Sequence[int], ids: Sequence[int], logits_V: Tensor) -> Tensor:
        input_ids_1S = torch.tensor([[*prompt_ids, *ids]], device=logits_V.device)
        processors = cast(Any, processors_for(len(prompt_ids)))
        return cast(Tensor, processors(input_ids_1S, logits_V.unsqueeze(0))[0])

    return process


def _processors(model: PreTrainedModel, config: GenerationConfig, num_prompt_tokens: int) -> LogitsProcessorList:
    generating = cast(Any, model)
    full, _ = generating._prepare_generation_config(config)
    generating._prepare_special_tokens(full, device=model.device)
    full.max_length = num_prompt_tokens + full.max_new_tokens
    device = str(model.device)
    return cast(
        LogitsProcessorList,
        generating._get_logits_processor(full, input_ids_seq_length=num_prompt_tokens, device=device, model_kwargs={}),
    )
