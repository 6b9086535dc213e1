"""What the reference model, the policy as it was before training, makes of the flagged samples.

Shapes: F response tokens of flagged samples, flat, D hidden.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

import torch
from peft import PeftModel
from torch import Tensor
from torch.func import functional_call

from rolekeeper.lm.forward import apply_head, response_states, unwrap
from rolekeeper.method.fused import Project
from services.trainer.program.data import TrainingData
from services.trainer.program.policy import Policy, trains_all_weights
from services.trainer.program.recompute import computing_once

MAX_BYTES = 1 << 30


class Reference:
    """Last hidden states of the flagged samples.

    The reference never changes, so they are computed once for all epochs where they fit into `max_bytes`: exact, and
    smaller than logits by V / D. All at once, in the order of the file, so that a run that resumes has the same ones.

    Under an adapter the reference is the policy with its adapter off. Where all weights are trained there is none to go
    back to: then all states are computed here, before the first step, and the output head is copied (a head that is
    tied to the embedding moves).
    """

    def __init__(self, policy: Policy, data: TrainingData, max_batch_tokens: int, max_bytes: int = MAX_BYTES) -> None:
        self._policy = policy
        self._data = data
        self._max_batch_tokens = max_batch_tokens
        self._max_bytes = max_bytes
        self._kept: dict[int, Tensor] | None = None
        self.project: Project | None = None
        """The output head for the states; None where it is the policy's own."""
        if trains_all_weights(policy):
            self._keep()
            model = unwrap(policy)
            head = model.get_output_embeddings()
            kept = {name: weight.detach().clone() for name, weight in head.named_parameters()}
            self.project = partial(apply_head, partial(functional_call, head, kept), model.config)

    def states(self, flagged: Sequence[int]) -> Tensor:
        """Return the states [F, D] of some flagged samples, one after the other in the order given."""
        if self._kept is None:
            self._keep()
        if not self._kept:
            return torch.cat(self._compute(flagged))
        return torch.cat([self._kept[index] for index in flagged])

    def _keep(self) -> None:
        every = [index for index, harmful in enumerate(self._data.harmful) if harmful]
        must_fit = trains_all_weights(self._policy)
        self._kept = dict(zip(every, self._compute(every), strict=True)) if must_fit or self._fits(every) else {}

    def _compute(self, indices: Sequence[int]) -> list[Tensor]:
        off = self._policy.disable_adapter() if isinstance(self._policy, PeftModel) else contextlib.nullcontext()
        with off, computing_once(self._policy):
            return response_states(
                self._policy, [self._data.samples[index] for index in indices], self._max_batch_tokens
            )

    def _fits(self, indices: Sequence[int]) -> bool:
        model = unwrap(self._policy)
        num_tokens = sum(len(self._data.samples[index].response_ids) for index in indices)
        num_bytes = num_tokens * model.config.get_text_config().hidden_size * model.dtype.itemsize
        return bool(num_bytes <= self._max_bytes)
