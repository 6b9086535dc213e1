"""Vaccine: learn under the worst small shift of what the attention layers give.

Shapes: each tensor is the output of one attention layer, or of that shape: B samples, S positions, D hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_NO_DIVISION_BY_ZERO = 1e-7  # that of the released code


def perturbations(gradients: Sequence[Tensor], rho: float) -> list[Tensor]:
    """Return e_l = rho * g_l / ||(g_1, ..., g_L)||, one for each layer's gradient g_l of the loss by its output.

    Vaccine (arXiv 2402.01109), equation of the optimal perturbation; github.com/git-disl/Vaccine, `trainer.py`, which
    takes the norm over all layers together. To first order the loss grows by rho times that norm, and by no more
    under any shift of the same norm.
    """
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    return [gradient * (rho / (norm + _NO_DIVISION_BY_ZERO)) for gradient in gradients]
