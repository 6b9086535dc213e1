"""What the reference model, the policy with its adapter off, makes of the flagged samples.

Shapes: F response tokens of flagged samples, flat, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.lm.forward import response_states, unwrap
from services.trainer.program.data import TrainingData

MAX_BYTES = 1 << 30


class Reference:
    """Last hidden states of the flagged samples.

    The reference never changes, so they are computed once for all epochs where they fit into `max_bytes`: exact, and
    smaller than logits by V / D. All at once, in the order of the file, so that a run that resumes has the same ones.
    """

    def __init__(
        self, policy: PeftModel, data: TrainingData, max_batch_tokens: int, max_bytes: int = MAX_BYTES
    ) -> None:
        self._policy = policy
        self._data = data
        self._max_batch_tokens = max_batch_tokens
        self._max_bytes = max_bytes
        self._kept: dict[int, Tensor] | None = None

    def states(self, flagged: Sequence[int]) -> Tensor:
        """Return the states [F, D] of some flagged samples, one after the other in the order given."""
        if self._kept is None:
            every = [index for index, harmful in enumerate(self._data.harmful) if harmful]
            self._kept = dict(zip(every, self._compute(every), strict=True)) if self._fits(every) else {}
        if not self._kept:
            return torch.cat(self._compute(flagged))
        return torch.cat([self._kept[index] for index in flagged])

    def _compute(self, indices: Sequence[int]) -> list[Tensor]:
        with self._policy.disable_adapter():
            return response_states(
                self._policy, [self._data.samples[index] for index in indices], self._max_batch_tokens
            )

    def _fits(self, indices: Sequence[int]) -> bool:
        model = unwrap(self._policy)
        num_tokens = sum(len(self._data.samples[index].response_ids) for index in indices)
        num_bytes = num_tokens * model.config.get_text_config().hidden_size * model.dtype.itemsize
        return bool(num_bytes <= self._max_bytes)
