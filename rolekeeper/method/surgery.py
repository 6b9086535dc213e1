"""Gradient surgery: learning the role never pulls against staying safe.

Shapes: each tensor is the gradient by one weight, all in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def without_conflict(task: Sequence[Tensor], safety: Sequence[Tensor]) -> list[Tensor]:
    """Return the task's gradients without what they have against the safety gradients.

    SafeGrad (arXiv 2508.07172): where g_task . g_safety < 0, g_task - (g_task . g_safety / ||g_safety||^2) g_safety,
    which is orthogonal to g_safety; elsewhere g_task as it is. Products are over all weights together.
    """
    dot = _dot(task, safety)
    if not bool(dot < 0):
        return list(task)
    share = dot / _dot(safety, safety)
    return [ours - share * theirs for ours, theirs in zip(task, safety, strict=True)]


def _dot(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    return torch.stack([(mine * other).sum() for mine, other in zip(ours, theirs, strict=True)]).sum()
