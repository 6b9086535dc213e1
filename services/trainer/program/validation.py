"""The loss on dialogues that are not trained on, after each epoch, and the end that it can bring."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.forward import response_logprobs
from services.trainer.program.data import TrainingData
from services.trainer.program.failures import Diverged
from services.trainer.program.policy import Policy, trained_weights
from services.trainer.program.recompute import computing_once

_LOSSES = "validation.losses"
_BEST = "validation.best."


class Validation:
    """The curve of a run so far, and the weights of its best epoch where an early stop was asked for.

    Nothing of it changes a step, so a run with the same training data takes the same steps without it.
    """

    def __init__(self, policy: Policy, data: TrainingData, spec: TrainSpec) -> None:
        self._weights = trained_weights(policy)
        self._policy = policy
        self._samples = [data.samples[index] for index in data.validation]
        self._max_batch_tokens = spec.max_batch_tokens
        self._patience = spec.hyperparameters.early_stop_epochs
        self._best: dict[str, Tensor] = {}
        self.losses: list[float] = []

    def measure(self) -> dict[str, float]:
        """Measure after an epoch; returns the metric, or nothing without samples. Raises Diverged.

        The loss is the mean of -log p over the response tokens, in nats.
        """
        if not self._samples:
            return {}
        with computing_once(self._policy):
            logprobs = response_logprobs(self._policy, self._samples, self._max_batch_tokens)
        loss = -float(torch.cat(logprobs).double().mean())
        if not math.isfinite(loss):
            raise Diverged(
                f"the validation loss after epoch {len(self.losses) + 1} is not a finite number: lower learning_rate"
            )
        self.losses.append(loss)
        if self._patience is not None and loss == min(self.losses):
            self._best = {name: weight.detach().clone() for name, weight in self._weights.items()}
        return {"validation_loss": loss}

    @property
    def is_over(self) -> bool:
        """Whether the loss was not lower for as many epochs as the early stop waits."""
        if self._patience is None or not self.losses:
            return False
        return len(self.losses) - 1 - self.losses.index(min(self.losses)) >= self._patience

    def take_best(self) -> None:
        """Set the weights to those of the best epoch, if an early stop was asked for."""
        with torch.no_grad():
            for name, weight in self._best.items():
                self._weights[name].copy_(weight)

    def state(self) -> dict[str, Tensor]:
        """Return what a run that resumes needs; nothing before the first measurement."""
        if not self.losses:
            return {}
        best = {f"{_BEST}{name}": weight for name, weight in self._best.items()}
        return {_LOSSES: torch.tensor(self.losses, dtype=torch.float64), **best}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned then; other tensors beside it are not looked at."""
        if _LOSSES in tensors:
            self.losses = tensors[_LOSSES].tolist()
        self._best = {name.removeprefix(_BEST): weight for name, weight in tensors.items() if name.startswith(_BEST)}
