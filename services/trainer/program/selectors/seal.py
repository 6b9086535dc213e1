"""SEAL's selector: a model held to the safe set, and weights that samples lose while they stay hard for it.

Shapes: N training samples, B those of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, count, islice

import torch
from peft import PeftModel
from torch import Tensor

from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.method.seal import FIRST_LOGIT, loss_factors, safety_share, sample_weights, selector_loss
from services.trainer.program.data import epoch_order
from services.trainer.program.engine import longest_gradient
from services.trainer.program.objectives.step import micro_batches
from services.trainer.program.policy import trained_weights
from services.trainer.program.selectors.bi_selection import Tick
from services.trainer.program.selectors.gradients import sample_losses

_SELECTOR_RATE = 5e-3  # as in SEAL's script, and its betas
_SELECTOR_BETAS = (0.9, 0.95)


class SealSelector:
    """Trains model and weights side by side. The batch of the safe set is as large as that of the training set."""

    def __init__(
        self, policy: PeftModel, samples: Sequence[EncodedSample], safe: Sequence[EncodedSample], hyper: Hyperparameters
    ) -> None:
        self._policy = policy
        self._samples = samples
        self._safe = safe
        self._hyper = hyper
        self._weights = [*trained_weights(policy).values()]
        self._optimizer = torch.optim.AdamW(self._weights, lr=hyper.learning_rate, weight_decay=0.0)
        self._logits_N = torch.full((len(samples),), FIRST_LOGIT, requires_grad=True)
        self._selector = torch.optim.Adam([self._logits_N], lr=_SELECTOR_RATE, betas=_SELECTOR_BETAS)

    def run(self, epochs: int, max_batch_tokens: int, tick: Tick) -> Tensor:
        """Return the logits [N] of the weights after so many epochs. `tick` is called after every sample."""
        safe = self._endless_safe()
        for epoch in range(epochs):
            order = epoch_order(len(self._samples), self._hyper.seed, epoch)
            for start in range(0, len(order), self._hyper.batch_size):
                indices = order[start : start + self._hyper.batch_size]
                self._step(indices, list(islice(safe, len(indices))), safety_share(epoch), max_batch_tokens)
                for _ in indices:
                    tick()
        return self._logits_N.detach()

    def _step(self, indices: list[int], safe: list[int], share: float, max_batch_tokens: int) -> None:
        with torch.no_grad():
            factors = loss_factors(sample_weights(self._logits_N)[indices], share)
        safe_B = torch.full((len(safe),), factors.safe)
        self._backward([self._safe[index] for index in safe], safe_B, max_batch_tokens)
        samples = [self._samples[index] for index in indices]
        loss_B = self._backward(samples, factors.sample_B, max_batch_tokens)
        torch.nn.utils.clip_grad_norm_(self._weights, longest_gradient(self._hyper))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._selector.zero_grad()
        torch.autograd.backward(selector_loss(self._logits_N, torch.tensor(indices), loss_B))
        self._selector.step()

    def _backward(self, samples: Sequence[EncodedSample], factor_B: Tensor, max_batch_tokens: int) -> Tensor:
        """Add up the gradients of factor * loss over the samples; return their losses [B], fp32 on the CPU."""
        loss_B = torch.zeros(len(samples))
        for group in micro_batches(samples, range(len(samples)), max_batch_tokens):
            with torch.set_grad_enabled(bool(factor_B.any())):
                losses = sample_losses(self._policy, [samples[row] for row in group])
            if losses.requires_grad:
                torch.autograd.backward((losses * factor_B[group].to(losses)).sum())
            loss_B[group] = losses.detach().float().cpu()
        return loss_B

    def _endless_safe(self) -> Iterator[int]:
        """The safe set over and over, each time in another order."""
        return chain.from_iterable(epoch_order(len(self._safe), self._hyper.seed, number) for number in count())
