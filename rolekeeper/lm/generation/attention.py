"""Attention of one pass: the next token of every live row, and whole prompts of new rows, in one packed row.

A live row's token sees its own columns of the cache; a new prompt is causal over itself; both see the shared prefix,
merged by the log-sum-exps as in `rolekeeper.lm.cascade`. Softcaps and sliding windows are heeded.

Shapes: B live rows, T tokens of the packed row (B, then new prompts, then padding), H heads, K key heads, G = H / K,
D head size, L tokens of one prompt, W columns of the live window, S keys, N tokens of new prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from rolekeeper.lm.cascade import Group, UnknownAttention, attention, merge
from rolekeeper.lm.generation.rows import RowCache, where_to
from rolekeeper.lm.prefix import Layers

_NAME = "rolekeeper_rows"

# Options of an attention function that change nothing here, or that are heeded.
_UNDERSTOOD = frozenset(
    {"step", "scaling", "dropout", "position_ids", "use_cache", "is_causal", "softcap", "sliding_window"}
)

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class Limits(NamedTuple):
    """What bounds the attention of a layer: the scale of its scores, their softcap, and how far back a token sees."""

    scale: float
    softcap: float | None
    window: int | None


@dataclass
class Step:
    """What the attention of each layer needs. `groups` are the new prompts, and last the padding if there is any.

    `narrowest` is the narrowest sliding window that a layer had.
    """

    cache: RowCache
    prefix: Layers
    groups: Sequence[Group]
    new_starts: Sequence[int]
    device: torch.device
    narrowest: int | None = None
    _masks: dict[int | None, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.first = self.cache.first_column()
        if self.new_starts:
            rows_N, columns_N = where_to(self.cache.num_live, self.new_starts, self.cache.clock)
            self._target = (rows_N.to(self.device), columns_N.to(self.device))

    def keep(self, layer: tuple[Tensor, Tensor], states: tuple[Tensor, Tensor]) -> None:
        """Put the keys and values [1, K, T, D] of this pass where they belong."""
        live, clock = self.cache.num_live, self.cache.clock
        for kept_BKCD, states_1KTD in zip(layer, states, strict=True):
            states_TKD = states_1KTD[0].transpose(0, 1)
            kept_BKCD[:live, :, clock] = states_TKD[:live]
            if self.new_starts:
                rows_N, columns_N = self._target
                kept_BKCD[rows_N, :, columns_N] = states_TKD[live : live + len(rows_N)]

    def live_mask(self, window: int | None) -> Tensor:
        """Return what is added to the scores of live rows, [B, 1, 1, W]: 0 where seen, else -inf."""
        if window not in self._masks:
            starts_B = torch.tensor(self.cache.starts, device=self.device)
            if window is not None:
                starts_B = starts_B.clamp(min=self.cache.clock - window + 1)
            columns_W = torch.arange(self.first, self.cache.clock + 1, device=self.device)
            mask_BW = torch.zeros(len(starts_B), len(columns_W), device=self.device)
            mask_BW.masked_fill_(columns_W < starts_B[:, None], float("-inf"))
            self._masks[window] = mask_BW[:, None, None]
        return self._masks[window]


def run_step(model: PreTrainedModel, input_ids_T: Tensor, position_ids_T: Tensor, step: Step) -> Tensor:
    """Return the last hidden states [T, hidden] of a pass, and keep its keys and values. Raises UnknownAttention."""
    AttentionInterface.register(_NAME, _attention)
    with attention(model, _NAME):
        output = model.base_model(
            input_ids=input_ids_T.unsqueeze(0), position_ids=position_ids_T.unsqueeze(0), use_cache=False, step=step
        )
    return cast(Tensor, output.last_hidden_state[0])


def _attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    _mask: None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function of transformers. Returns the outputs as [1, T, H, D]."""
    unknown = [name for name, value in options.items() if name not in _UNDERSTOOD and value is not None]
    if unknown or "step" not in options:
        raise UnknownAttention(f"{type(module).__name__} asks for {', '.join(unknown) or 'no step'}")
    step: Step = options["step"]
    limits = Limits(float(options["scaling"]), options.get("softcap"), options.get("sliding_window"))
    if limits.window is not None:
        step.narrowest = min(limits.window, step.narrowest or limits.window)
    index = int(cast(Any, module).layer_idx)
    layer = step.cache.layer(index, key_1KTD, value_1KTD)
    step.keep(layer, (key_1KTD, value_1KTD))
    parts = list(_parts(step, layer, (query_1HTD, key_1KTD, value_1KTD), limits))
    out_1HTD = torch.cat([out for out, _ in parts], dim=2)
    if step.prefix:
        prefix_1HTD, prefix_lse_1HT = attend(query_1HTD, *step.prefix[index], limits)
        lse_1HT = torch.cat([lse for _, lse in parts], dim=2)
        out_1HTD = merge(out_1HTD, lse_1HT, prefix_1HTD, prefix_lse_1HT)
    return out_1HTD.transpose(1, 2), None


def _parts(
    step: Step, layer: tuple[Tensor, Tensor], states: tuple[Tensor, Tensor, Tensor], limits: Limits
) -> Iterator[tuple[Tensor, Tensor]]:
    """Outputs [1, H, ., D] and log-sum-exps [1, H, .] over a token's own keys: of the live rows, then of each group."""
    live = step.cache.num_live
    if live:
        yield _live_rows(step, layer, states[0][:, :, :live], limits)
    for group in step.groups:
        query, key, value = (x[:, :, group.start : group.stop] for x in states)
        yield attend(query, key, value, limits, is_causal=True)


def _live_rows(step: Step, layer: tuple[Tensor, Tensor], query_1HBD: Tensor, limits: Limits) -> tuple[Tensor, Tensor]:
    """The heads that share a key head are the queries of one product: keys and values are read once."""
    _, heads, live, size = query_1HBD.shape
    keys, values = (x[:live, :, step.first : step.cache.clock + 1] for x in layer)
    query_BKGD = query_1HBD[0].transpose(0, 1).reshape(live, keys.shape[1], -1, size)
    out_BKGD, lse_BKG = attend(query_BKGD, keys, values, limits, step.live_mask(limits.window))
    out_BHD = out_BKGD.reshape(live, heads, -1)
    return out_BHD.transpose(0, 1).unsqueeze(0), lse_BKG.reshape(live, heads).t().unsqueeze(0)


def attend(
    query_BHLD: Tensor,
    key_BKSD: Tensor,
    value_BKSD: Tensor,
    limits: Limits,
    mask: Tensor | None = None,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return softmax(cap(q k^T scale) + mask) v, [B, H, L, D], and the log-sum-exps [B, H, L].

    `mask` is broadcast over [B, H, L, S]. Where it is causal instead, L is S and the window counts.
    Naive twin: `plain_attend`.
    """
    if is_causal and limits.window is not None and limits.window < query_BHLD.shape[2]:
        mask, is_causal = causal_mask(query_BHLD.shape[2], limits.window, query_BHLD.device), False
    if query_BHLD.device.type != "cpu" or query_BHLD.dtype != torch.float32 or limits.softcap is not None:
        if is_causal:
            mask = causal_mask(query_BHLD.shape[2], None, query_BHLD.device)
        return plain_attend(query_BHLD, key_BKSD, value_BKSD, limits, mask)
    out_BHLD, lse_BHL = _flash(
        query_BHLD, key_BKSD, value_BKSD, is_causal=is_causal, attn_mask=mask, scale=limits.scale
    )
    return out_BHLD, lse_BHL


def causal_mask(length: int, window: int | None, device: torch.device) -> Tensor:
    """Return 0 where a token sees another, else -inf, [L, L]: those before it and itself, at most `window` of them."""
    hidden_LL = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    if window is not None:
        hidden_LL |= torch.ones_like(hidden_LL).tril(-window)
    return torch.zeros(length, length, device=device).masked_fill_(hidden_LL, float("-inf"))


def plain_attend(
    query_BHLD: Tensor, key_BKSD: Tensor, value_BKSD: Tensor, limits: Limits, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same as it is written down, on any device: softmax in fp32."""
    rows, heads, length, size = query_BHLD.shape
    key_heads = key_BKSD.shape[1]
    query_BKXD = query_BHLD.reshape(rows, key_heads, -1, size)  # X = G L
    scores_BHLS = (query_BKXD @ key_BKSD.transpose(-1, -2) * limits.scale).reshape(rows, heads, length, -1)
    if limits.softcap is not None:
        scores_BHLS = torch.tanh(scores_BHLS / limits.softcap) * limits.softcap
    scores_BHLS = scores_BHLS.float()
    if mask is not None:
        scores_BHLS = scores_BHLS + mask
    weights_BKXS = (
        scores_BHLS.softmax(-1).to(query_BHLD.dtype).reshape(rows, key_heads, heads // key_heads * length, -1)
    )
    out_BHLD = (weights_BKXS @ value_BKSD).reshape(rows, heads, length, -1)
    return out_BHLD, scores_BHLS.logsumexp(-1)
