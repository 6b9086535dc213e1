"""Role-Safety Adaptive Data Selection (RDS): which samples are harmful for this character.

Shapes: B samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class NonFiniteScore(ValueError):
    """A log-prob is NaN or infinite. `indices` are the positions of the samples in the batch."""

    def __init__(self, indices: Sequence[int]) -> None:
        self.indices = tuple(indices)
        super().__init__(
            f"samples {list(self.indices)} have a log-prob that is NaN or infinite; "
            "check the base model's weights and its dtype"
        )


class Rewards(NamedTuple):
    """Implicit rewards in nats per response token."""

    s_role_B: Tensor
    s_unsafe_B: Tensor


def implicit_rewards(role_logprob_B: Tensor, unsafe_logprob_B: Tensor, plain_logprob_B: Tensor) -> Rewards:
    """Return s_role = log p(y | role, x) - log p(y | plain, x), and s_unsafe likewise.

    SaRFT (arXiv 2502.20968), implicit rewards of RDS. Inputs are mean log-probs per response token (end of turn
    included) of the frozen base model, in nats; the same response tokens in all three contexts.
    Raises NonFiniteScore, which names the samples.
    """
    finite_B = role_logprob_B.isfinite() & unsafe_logprob_B.isfinite() & plain_logprob_B.isfinite()
    if not bool(finite_B.all()):
        raise NonFiniteScore([int(i) for i in torch.nonzero(~finite_B).flatten()])
    return Rewards(role_logprob_B - plain_logprob_B, unsafe_logprob_B - plain_logprob_B)


def select_harmful(s_role_B: Tensor, s_unsafe_B: Tensor, margin: float = 0.0) -> Tensor:
    """Return the mask of the harmful subset D_h: True where s_unsafe > s_role + margin. Ties are not harmful.

    SaRFT (arXiv 2502.20968), RDS, for margin 0. The plain log-prob is in both rewards, so the sign does not depend on
    it. `margin` is in nats per response token. Raises NonFiniteScore, which names the samples.
    """
    finite_B = s_role_B.isfinite() & s_unsafe_B.isfinite()
    if not bool(finite_B.all()):
        raise NonFiniteScore([int(i) for i in torch.nonzero(~finite_B).flatten()])
    return s_unsafe_B > s_role_B + margin
