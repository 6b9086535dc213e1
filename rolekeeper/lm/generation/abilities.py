"""Whether a model can be run row by row by the engine: tried out once, against the model's own forward.

Shapes: B rows, T tokens of a packed row, S positions, D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, cast

import structlog
import torch
from torch import Tensor
from transformers import PreTrainedModel

from rolekeeper.lm.cascade import Group, UnknownAttention
from rolekeeper.lm.forward import project
from rolekeeper.lm.generation.attention import Step, run_step
from rolekeeper.lm.generation.rows import RowCache

# Two prompts of unlike length, and a token for each to go on with.
_PROMPTS = ([11, 5, 7, 3, 9, 2, 8], [4, 6, 10, 1])
_NEXT = [3, 12]
_KEPT = "_rolekeeper_abilities"


class Abilities(NamedTuple):
    """What the engine must know of a model: its narrowest sliding window, and the bytes that a token takes in a row."""

    window: int | None
    bytes_per_token: int


def find_abilities(model: PreTrainedModel) -> Abilities | None:
    """Return what the engine must know of a model; None if it can't run it.

    Kept with the model. Its weights may change afterwards (an adapter merged, and taken out again): what is tried is
    how the model is built.
    """
    kept = vars(model)
    if _KEPT not in kept:
        with torch.inference_mode():
            kept[_KEPT] = _try(model)
        if kept[_KEPT] is None:
            structlog.get_logger().warning("decoding_by_generate", model_type=model.config.model_type)
    return cast(Abilities | None, kept[_KEPT])


def _try(model: PreTrainedModel) -> Abilities | None:
    config = model.config.get_text_config()
    prompts = [[token % config.vocab_size for token in prompt] for prompt in _PROMPTS]
    tokens = [token % config.vocab_size for token in _NEXT]
    cache = RowCache(len(prompts))
    try:
        first = _step(model, cache, [], prompts)
        second = _step(model, cache, tokens, [])
    except (UnknownAttention, TypeError, AttributeError):
        return None
    ours_BV = torch.cat([project(model, hidden_BD).float() for hidden_BD in (first.hidden_BD, second.hidden_BD)])
    theirs = [_own_logits(model, [*prompt, token]) for prompt, token in zip(prompts, tokens, strict=True)]
    theirs_BV = torch.stack([logits_SV[position] for position in (-2, -1) for logits_SV in theirs])
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    is_same = torch.allclose(ours_BV, theirs_BV, tolerance, tolerance, equal_nan=True)
    # Layers that mix tokens in other ways than attention would mix the rows of a pass.
    if not is_same or cache.num_layers != config.num_hidden_layers:
        return None
    return Abilities(first.narrowest, cache.bytes_per_token)


class _Stepped(NamedTuple):
    """Last hidden states of the last token of each row, and the narrowest sliding window of a layer."""

    hidden_BD: Tensor
    narrowest: int | None


def _step(model: PreTrainedModel, cache: RowCache, live: Sequence[int], prompts: Sequence[list[int]]) -> _Stepped:
    starts = cache.make_room([len(prompt) for prompt in prompts])
    ids = [*live, *(token for prompt in prompts for token in prompt)]
    positions = [cache.clock - start for start in cache.starts]
    positions += [position for prompt in prompts for position in range(len(prompt))]
    stops = list(accumulate((len(prompt) for prompt in prompts), initial=len(live)))
    step = Step(cache, [], [Group(start, stop) for start, stop in pairwise(stops)], starts, model.device)
    ids_T, positions_T = (torch.tensor(values, device=model.device) for values in (ids, positions))
    hidden_TD = run_step(model, ids_T, positions_T, step)
    cache.advance(starts)
    return _Stepped(hidden_TD[[*range(len(live)), *(stop - 1 for stop in stops[1:])]], step.narrowest)


def _own_logits(model: PreTrainedModel, ids: list[int]) -> Tensor:
    logits_SV: Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    return logits_SV.float()
