"""Decoding: prompts in, answers out.

Greedy answers are those of `model.generate`; which prompts are answered together does not change them, as near ties are
decided by the prompt alone (in fp32).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from rolekeeper.lm.batch import common_prefix
from rolekeeper.lm.forward import unwrap
from rolekeeper.lm.generation.abilities import Abilities, find_abilities
from rolekeeper.lm.generation.by_generate import generate_ids
from rolekeeper.lm.generation.choose import Chooser
from rolekeeper.lm.generation.engine import Engine, Limits, Prompt, Rules
from rolekeeper.lm.generation.processors import logits_process
from rolekeeper.lm.generation.rows import CHUNK
from rolekeeper.lm.memory import available_bytes

MAX_ROWS = 64
"""More rows at once are no faster on a CPU: their keys and values no longer fit its caches."""

LONG_PREFIX = 64
"""Tokens of a shared beginning that are worth a run of their own, whose last answers leave rows empty."""

_MEMORY_SHARE = 0.5

_Key = tuple[tuple[int, ...], ...]


class Way(NamedTuple):
    """How to decode. Temperature 0 is greedy; else tokens are drawn from the `top_p` most likely ones by the seed.

    `rose_weight` is how much of the logits after a prompt's second branch is taken off those after its first.
    `repetition_penalty` is that of CTRL (arXiv 1909.05858, section 4.1) over prompt and answer; None: the model's own.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    rose_weight: float | None = None
    repetition_penalty: float | None = None


def greedy_answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    batch_size: int = MAX_ROWS,
) -> list[str]:
    """Return the most likely answer to each prompt, in the order given, without its end-of-turn token.

    Answers end at the model's or the tokenizer's end token, or after `max_new_tokens`. At most `batch_size` prompts
    are answered at once.
    """
    return answers(model, tokenizer, [(ids,) for ids in prompts_ids], Way(max_new_tokens), batch_size=batch_size)


def answers(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    way: Way,
    before_pass: Callable[[], None] = lambda: None,
    batch_size: int = MAX_ROWS,
) -> list[str]:
    """Return the answer to each prompt, as text. `before_pass` may end the work by what it raises."""
    if not prompts:
        return []
    ids = answer_ids(model, tokenizer, prompts, way, before_pass, batch_size)
    return [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def answer_ids(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    way: Way,
    before_pass: Callable[[], None] = lambda: None,
    batch_size: int = MAX_ROWS,
) -> list[list[int]]:
    """Return the token ids of the answers to at least one prompt, with their end token where they ended by themselves.

    The same prompt is answered once, however often it comes.
    """
    distinct = list(dict.fromkeys(tuple(tuple(ids) for ids in prompt) for prompt in prompts))
    causal = unwrap(model)
    config = _config(causal, tokenizer, way)
    rules = _rules(causal, config, way)
    abilities = find_abilities(causal)
    if abilities is None:
        ids = generate_ids(causal, distinct, rules, config, before_pass)
    else:
        longest = max(len(branch) for prompt in distinct for branch in prompt) + way.max_new_tokens
        limits = Limits(_max_rows(causal, abilities, longest, batch_size * len(rules.weights)))
        shares_prefix = abilities.window is None or longest <= abilities.window
        parts = by_prefix(distinct) if shares_prefix else [distinct]
        answered = [Engine(causal, rules, limits, shares_prefix, before_pass).run(part) for part in parts]
        distinct = [prompt for part in parts for prompt in part]
        ids = [each for part in answered for each in part]
    by_prompt = dict(zip(distinct, ids, strict=True))
    return [by_prompt[tuple(tuple(branch) for branch in prompt)] for prompt in prompts]


def by_prefix(prompts: Sequence[_Key]) -> list[list[_Key]]:
    """Return prompts in parts: those that share a long beginning which others lack, such as a profile, are one each.

    What a part shares is computed once; where prompts of several contexts come together, all of them share next to
    nothing.
    """
    shared = len(common_prefix([list(ids[:-1]) for prompt in prompts for ids in prompt]))
    found: dict[int, list[_Key]] = {}
    for prompt in prompts:
        found.setdefault(prompt[0][shared], []).append(prompt)
    parts: list[list[_Key]] = [[]]
    for part in found.values():
        own = len(common_prefix([list(ids[:-1]) for prompt in part for ids in prompt])) - shared
        if len(part) > 1 and own >= LONG_PREFIX:
            parts.append(part)
        else:
            parts[0] += part
    return [part for part in parts if part]


def _rules(model: PreTrainedModel, config: GenerationConfig, way: Way) -> Rules:
    return Rules(
        max_new_tokens=way.max_new_tokens,
        end_ids=frozenset(config.eos_token_id or []),
        chooser=Chooser(way.temperature, way.top_p),
        weights=(1.0,) if way.rose_weight is None else (1.0, -way.rose_weight),
        seed=way.seed,
        process=logits_process(model, config),
    )


def _max_rows(model: PreTrainedModel, abilities: Abilities, longest: int, wanted: int) -> int:
    """As many rows as are wanted, or fewer where memory is short, but enough for one answer."""
    free = available_bytes(model.device)
    if free is None:
        return wanted
    fitting = int(free * _MEMORY_SHARE) // (abilities.bytes_per_token * (longest + 2 * CHUNK))
    return min(wanted, max(2, fitting))


def _config(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, way: Way) -> GenerationConfig:
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    ends = _end_ids(model, tokenizer)
    config = GenerationConfig(
        do_sample=False, max_new_tokens=way.max_new_tokens, eos_token_id=ends, pad_token_id=pad_id
    )
    if way.repetition_penalty is not None:
        config.repetition_penalty = way.repetition_penalty
    return config


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Chat models often list more end tokens in their generation config than the tokenizer knows of."""
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    return sorted(end for end in ends if end is not None)
