"""Bi-Selection on the adapter's weights: one backward pass for each sample and each anchor.

The weights are those of a fresh adapter. What it adds is zero, so the model is the base model, and the gradient is a
random projection of that of the base model's own weights.

Shapes: P weights of the adapter, K safe anchors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.method.bi_selection import ANCHOR_TOKENS, bidirectional_score, highest, mean_direction
from services.trainer.program.selectors.gradients import loss_gradient

Tick = Callable[[], None]


def bi_selection(
    policy: PeftModel,
    samples: Sequence[EncodedSample],
    anchors: tuple[Sequence[EncodedSample], Sequence[EncodedSample]],
    count: int,
    tick: Tick,
) -> list[int]:
    """Return the indices of the `count` samples nearest to harmful answers; `anchors` are the harmful and the safe.

    The first half of the safe ones is one anchor, the others are the second. `tick` is called after every sample.
    """
    harmful, safe = anchors
    middle = (len(safe) + 1) // 2
    harmful_P = _anchor(policy, harmful)
    safe_KP = torch.stack([_anchor(policy, half) for half in (safe[:middle], safe[middle:]) if half])
    scores = []
    for sample in samples:
        scores.append(float(bidirectional_score(loss_gradient(policy, sample), harmful_P, safe_KP)))
        tick()
    return highest(scores, count)


def _anchor(policy: PeftModel, samples: Sequence[EncodedSample]) -> Tensor:
    """The mean direction [P] of some examples' gradients, by the first tokens of their responses."""
    firsts = (sample._replace(response_ids=sample.response_ids[:ANCHOR_TOKENS]) for sample in samples)
    return mean_direction(loss_gradient(policy, sample) for sample in firsts)
