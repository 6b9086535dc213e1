"""Samples into packed rows: one after the other, without padding, and what several samples share only once.

Shapes: T tokens of a packed row, L tokens of one group, R response tokens of all its samples, flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from rolekeeper.lm.batch import bin_pack, common_prefix
from rolekeeper.lm.cascade import Group
from rolekeeper.lm.encode import EncodedSample

ROW_MULTIPLE = 32
"""Rows of a matrix product come in multiples of this: oneDNN makes code for every number of rows that it meets, and
keeps it, some 0.5 MB for each shape of a layer."""


MIN_SHARED = 64
"""Prompts that begin with as many equal tokens, such as those under one profile, share them. To share fewer costs more
than it saves: attention over a group looks at all pairs of its tokens."""

_NEVER = "rolekeeper_never_packs"


class PackedRow(NamedTuple):
    """A packed row. `samples` are positions in the list that was packed, in the order of their responses.

    `rows_R` are the positions in T that predict the response tokens `labels_R`. The last token of a response is not
    an input: nothing is predicted from it.
    """

    samples: list[int]
    input_ids_T: Tensor
    position_ids_T: Tensor
    groups: list[Group]
    rows_R: Tensor
    labels_R: Tensor


def can_pack(model: PreTrainedModel) -> bool:
    """Whether samples may go through this model in packed rows: in fp32 on the CPU, but see `never_pack`."""
    return bool(model.device.type == "cpu" and model.dtype == torch.float32 and not hasattr(model, _NEVER))


def never_pack(model: PreTrainedModel) -> None:
    """Have samples padded, always: finding out that its attention can't pack ends a pass, which not all models bear."""
    setattr(model, _NEVER, True)


def packed_rows(samples: Sequence[EncodedSample], past: int, max_tokens: int) -> Iterator[PackedRow]:
    """Yield rows of at most `max_tokens` tokens (or of one sample) that hold every sample once, the longest first.

    Samples with the same prompt, or with prompts that begin alike, share those tokens. `past` is how many tokens come
    before every sample.
    """
    groups = _groups(samples, max_tokens)
    lengths = [_length(samples, group) for group in groups]
    for indices in bin_pack(lengths, max_tokens):
        yield _pack(samples, [groups[index] for index in indices], past)


def pad_row(row: PackedRow, past: int) -> PackedRow:
    """Return the row with tokens behind it that nothing sees or reads, up to a multiple of ROW_MULTIPLE."""
    start = len(row.input_ids_T)
    num_pads = -start % ROW_MULTIPLE
    if not num_pads:
        return row
    return row._replace(
        input_ids_T=functional.pad(row.input_ids_T, (0, num_pads)),
        position_ids_T=torch.cat([row.position_ids_T, torch.arange(past, past + num_pads)]),
        groups=[*row.groups, Group(start, start + num_pads)],
    )


def _groups(samples: Sequence[EncodedSample], max_tokens: int) -> list[list[int]]:
    by_beginning: dict[tuple[int, ...], list[_Growing]] = {}
    for index, sample in enumerate(samples):
        grown = by_beginning.setdefault(tuple(sample.prompt_ids[:MIN_SHARED]), [])
        if not grown or not grown[-1].take(index, sample, max_tokens):
            grown.append(_Growing(index, sample))
    return [group.indices for groups in by_beginning.values() for group in groups]


class _Growing:
    """A group that takes samples while they fit. To take one, only that one is read."""

    def __init__(self, index: int, sample: EncodedSample) -> None:
        self.indices = [index]
        self._trunk = sample.prompt_ids
        self._num_whole = _whole(sample)

    def take(self, index: int, sample: EncodedSample, max_tokens: int) -> bool:
        """Take the sample, unless the group would then be longer than `max_tokens`."""
        trunk, num_whole = common_prefix([self._trunk, sample.prompt_ids]), self._num_whole + _whole(sample)
        if num_whole - len(self.indices) * len(trunk) > max_tokens:
            return False
        self.indices.append(index)
        self._trunk, self._num_whole = trunk, num_whole
        return True


def _whole(sample: EncodedSample) -> int:
    """How many tokens of a sample are inputs, if it shares none."""
    return len(sample.prompt_ids) + len(sample.response_ids) - 1


def _length(samples: Sequence[EncodedSample], group: Sequence[int]) -> int:
    return sum(_lengths(samples, group, len(_trunk(samples, group))))


def _trunk(samples: Sequence[EncodedSample], group: Sequence[int]) -> list[int]:
    return common_prefix([samples[index].prompt_ids for index in group])


def _lengths(samples: Sequence[EncodedSample], group: Sequence[int], trunk: int) -> list[int]:
    """How many tokens the trunk has, and each branch: the rest of a prompt, and its response without the last token."""
    return [trunk, *(_whole(samples[index]) - trunk for index in group)]


def _pack(samples: Sequence[EncodedSample], groups: Sequence[Sequence[int]], past: int) -> PackedRow:
    input_ids: list[int] = []
    position_ids: list[int] = []
    rows: list[int] = []
    packed = []
    for group in groups:
        start, trunk = len(input_ids), _trunk(samples, group)
        input_ids += trunk
        position_ids += range(past, past + len(trunk))
        last, branched = len(input_ids) - 1, past + len(trunk)
        for index in group:
            asked, inputs = samples[index].prompt_ids[len(trunk) :], samples[index].response_ids[:-1]
            # The last token of the prompt predicts the first token of the response.
            before = len(input_ids) + len(asked) - 1 if asked else last
            input_ids += asked
            rows += [before, *range(len(input_ids), len(input_ids) + len(inputs))]
            input_ids += inputs
            position_ids += range(branched, branched + len(asked) + len(inputs))
        lengths = _lengths(samples, group, len(trunk))
        packed.append(Group(start, len(input_ids), tree_mask(lengths) if len(group) > 1 else None))
    order = [index for group in groups for index in group]
    labels = [label for index in order for label in samples[index].response_ids]
    return PackedRow(
        samples=order,
        input_ids_T=torch.tensor(input_ids),
        position_ids_T=torch.tensor(position_ids),
        groups=packed,
        rows_R=torch.tensor(rows),
        labels_R=torch.tensor(labels),
    )


def tree_mask(lengths: Sequence[int]) -> Tensor:
    """Return the mask [L, L] of a trunk and its branches, `lengths[0]` and the rest: 0 where seen, else -inf.

    A token sees the trunk and its own branch, up to itself.
    """
    mask_LL = torch.full((sum(lengths), sum(lengths)), float("-inf"))
    for start, stop in pairwise(accumulate(lengths, initial=0)):
        mask_LL[start:stop, : lengths[0]] = 0
        mask_LL[start:stop, start:stop] = 0
    return mask_LL.masked_fill(torch.ones_like(mask_LL, dtype=torch.bool).triu(1), float("-inf"))
