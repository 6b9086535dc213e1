"""Attention for packed rows that share a prefix: no padding, no mask over the whole row, no copy of the prefix.

A packed row holds several groups of tokens one after the other. Every token sees the whole prefix, and the tokens
before it in its own group, but for those that its group's mask hides. The two parts are two softmaxes, each exact over
its own keys; with their log-sum-exps they merge into the one softmax over all keys (Hydragen, arXiv 2402.05099,
section 3.1; here for prefill, on the CPU).

Shapes: T tokens of the packed row, P tokens of the prefix, H heads, K key heads, D head size, L tokens of one group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

_NAME = "rolekeeper_cascade"

# Options of an attention function that change nothing here, or that are heeded.
_UNDERSTOOD = frozenset({"cascade", "scaling", "dropout", "position_ids", "use_cache", "is_causal"})

MAX_PRODUCTS = 256
"""Tokens of a group up to which a pass with gradients takes plain products for it: the backward pass of the fused
kernel takes some 4 ms for a group of 80 tokens, a quarter of a training step on a CPU."""

# The kernel behind scaled_dot_product_attention on the CPU, asked directly because it also gives the log-sum-exps.
# It takes fewer key heads than heads, as they are.
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@dataclass(frozen=True)
class Group:
    """Tokens `start` to `stop` of the packed row. `mask_LL` is added to the scores; without one they are causal."""

    start: int
    stop: int
    mask_LL: Tensor | None = None


@dataclass(frozen=True)
class Cascade:
    """What the attention of each layer needs: the prefix's keys and values [1, K, P, D] by layer (none without a
    prefix), and the groups, which cover the packed row in order."""

    layers: Sequence[tuple[Tensor, Tensor]]
    groups: Sequence[Group]


class UnknownAttention(ValueError):
    """The model's attention does something that packed rows do not do, such as softcapping or a sliding window."""


def packed_hidden(model: PreTrainedModel, input_ids_T: Tensor, position_ids_T: Tensor, cascade: Cascade) -> Tensor:
    """Return the last hidden states [T, hidden] of a packed row. Gradients flow. Raises UnknownAttention.

    Naive twin: each group alone after the prefix, with the model's own attention.
    """
    AttentionInterface.register(_NAME, _cascade_attention)
    with attention(model, _NAME):
        output = model.base_model(
            input_ids=input_ids_T.unsqueeze(0),
            position_ids=position_ids_T.unsqueeze(0),
            use_cache=False,
            cascade=cascade,
        )
    return cast(Tensor, output.last_hidden_state[0])


@contextmanager
def attention(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Switch the model's attention to the one that transformers knows by this name, for the time.

    There is no mask function of the name used here, so transformers makes no mask for packed rows.
    """
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _cascade_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    _mask: None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers. Returns the outputs as [1, T, H, D]."""
    unknown = [name for name, value in options.items() if name not in _UNDERSTOOD and value]
    if unknown or "cascade" not in options:
        raise UnknownAttention(f"{type(module).__name__} asks for {', '.join(unknown) or 'no cascade'}")
    cascade, scale = options["cascade"], options["scaling"]
    # One split and not a slice for each group: its gradient is one concatenation.
    lengths = [group.stop - group.start for group in cascade.groups]
    states = zip(*(states.split(lengths, dim=2) for states in (query_1HTD, key_1KTD, value_1KTD)), strict=True)
    # Only what is merged with a prefix needs log-sum-exps, and no pass with gradients has one.
    is_learning = query_1HTD.requires_grad and not cascade.layers
    parts = [
        (_products(query, key, value, group.mask_LL, scale), None)
        if is_learning and query.shape[2] <= MAX_PRODUCTS
        else _flash(query, key, value, is_causal=group.mask_LL is None, attn_mask=group.mask_LL, scale=scale)
        for group, (query, key, value) in zip(cascade.groups, states, strict=True)
    ]
    out_1HTD = torch.cat([out for out, _ in parts], dim=2)
    if cascade.layers:
        prefix_keys, prefix_values = cascade.layers[int(cast(Any, module).layer_idx)]
        prefix_1HTD, prefix_lse_1HT = _flash(query_1HTD, prefix_keys, prefix_values, scale=scale)
        lse_1HT = torch.cat([cast(Tensor, lse) for _, lse in parts], dim=2)
        out_1HTD = merge(out_1HTD, lse_1HT, prefix_1HTD, prefix_lse_1HT)
    return out_1HTD.transpose(1, 2), None


def _products(query_1HLD: Tensor, key_1KLD: Tensor, value_1KLD: Tensor, mask_LL: Tensor | None, scale: float) -> Tensor:
    """The attention of one group, [1, H, L, D], by products that keep its shares [H, L, L] for the backward pass.

    Naive twin: the fused kernel.
    """
    _, heads, length, size = query_1HLD.shape
    key_heads = key_1KLD.shape[1]
    if mask_LL is None:
        mask_LL = torch.full((length, length), float("-inf"), dtype=query_1HLD.dtype).triu(1)
    # The heads of one key head stand one after the other: R are the rows of all of them.
    query_KRD = (query_1HLD * scale).reshape(key_heads, heads // key_heads * length, size)
    scores_KGLL = (query_KRD @ key_1KLD[0].mT).view(key_heads, -1, length, length) + mask_LL
    shares_KRL = scores_KGLL.softmax(-1).view(key_heads, -1, length)
    return (shares_KRL @ value_1KLD[0]).view(1, heads, length, size)


def merge(first_1HTD: Tensor, first_lse_1HT: Tensor, second_1HTD: Tensor, second_lse_1HT: Tensor) -> Tensor:
    """Merge two attention outputs over disjoint keys into the output over all keys, [1, H, T, D].

    out = (e^l1 o1 + e^l2 o2) / (e^l1 + e^l2) = o1 + sigmoid(l2 - l1) (o2 - o1).
    """
    share_1HT1 = torch.sigmoid(second_lse_1HT - first_lse_1HT).unsqueeze(-1)
    return torch.lerp(first_1HTD, second_1HTD, share_1HT1)
