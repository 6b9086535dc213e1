"""Samples of one scene, so encoded that what their prompts share is read once.

Shapes: T response tokens of all samples, flat, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import common_prefix, response_rows


class Folded(NamedTuple):
    """A sample whose prompt is what its scene shares, and whose response begins with the rest of its own prompt.

    `num_asked` tokens of that response belong to the prompt, and nothing is learned from them.
    """

    sample: EncodedSample
    num_asked: int

    @property
    def num_tokens(self) -> int:
        """How many response tokens it has."""
        return len(self.sample.response_ids) - self.num_asked


class Rows(NamedTuple):
    """Last hidden states [T, D] that predict the response tokens, and those tokens, in the order of the samples."""

    hidden_TD: Tensor
    labels_T: Tensor


def fold(samples: Sequence[EncodedSample]) -> list[Folded]:
    """Fold the samples of one scene over the longest beginning that their prompts share."""
    shared_ids = common_prefix([sample.prompt_ids for sample in samples])
    return [fold_one(sample, len(shared_ids)) for sample in samples]


def fold_one(sample: EncodedSample, num_shared: int) -> Folded:
    """Move what follows the first `num_shared` tokens of the prompt to the response."""
    asked_ids = sample.prompt_ids[num_shared:]
    moved = sample._replace(prompt_ids=sample.prompt_ids[:num_shared], response_ids=asked_ids + sample.response_ids)
    return Folded(moved, len(asked_ids))


def folded_rows(model: nn.Module, samples: Sequence[Folded]) -> Rows:
    """Run samples in one pass. Gradients flow. Naive twin: `response_rows` of the samples as they were."""
    rows = response_rows(model, [folded.sample for folded in samples])
    is_response_T = torch.cat([torch.arange(len(folded.sample.response_ids)) >= folded.num_asked for folded in samples])
    return Rows(rows.hidden_TD[is_response_T], rows.labels_T[is_response_T])
