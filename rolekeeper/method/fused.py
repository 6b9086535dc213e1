"""CE and KL of RBO from hidden states, with their gradients in the forward pass: logits exist for a few rows at a time.

Shapes: T response tokens of a micro-batch, flat, F those of flagged samples, P those of the others, C rows of a chunk,
D hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rolekeeper.method.rbo import KlDirection

Project = Callable[[Tensor], Tensor]
"""Hidden states [C, D] to logits [C, V]: the output head, with softcapping where the model has it."""

CHUNK_ROWS = 128
"""Tensors of CHUNK_ROWS x V x 4 bytes live at once, 25 MB each at a vocabulary of 49,152: two for CE, three to five
with the KL term."""


class Anchor(NamedTuple):
    """The KL term of the flagged samples of a micro-batch.

    `rows_F` are their rows in T; `reference_FD` the reference's last hidden states there; `weights_F` what each token's
    KL counts in the loss (lambda / tokens of its sample / samples of the global batch). `project` is the reference's
    own output head, where training moves the policy's.
    """

    rows_F: Tensor
    reference_FD: Tensor
    weights_F: Tensor
    direction: KlDirection
    project: Project | None = None


class FusedLoss(NamedTuple):
    """The loss (a scalar with a gradient), and the sums of CE (nats) and of weighted KL in it, without one."""

    loss: Tensor
    ce_sum: Tensor
    weighted_kl: Tensor


def fused_rbo(
    project: Project,
    hidden_TD: Tensor,
    labels_T: Tensor,
    ce_weight: float,
    anchor: Anchor | None = None,
    head: Sequence[Tensor] = (),
) -> FusedLoss:
    """Return ce_weight * sum CE + sum_F weight * KL. Gradients go to `hidden_TD`, and to `head`: the weights that
    `project` uses and that are trained, none of them where the head is frozen.

    With z the logits, p = softmax(z) of the policy and q of the reference, the gradients by z are p - onehot for CE,
    p (log p - log q - KL) for KL(p || q) and p - q for KL(q || p). Each chunk's gradient is taken to the hidden states
    while its logits are there, as in Liger-Kernel's fused linear losses (arXiv 2410.10989, section 3.2).
    Naive twin: `rbo_loss` of `rolekeeper.method.rbo`, with `ce_sum`, `token_kl` and `kl_sum` on all logits at once.
    """
    apply = cast(Callable[..., tuple[Tensor, Tensor, Tensor]], _Fused.apply)
    return FusedLoss(*apply(hidden_TD, project, labels_T, ce_weight, anchor, *head))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        project: Project,
        labels_T: Tensor,
        ce_weight: float,
        anchor: Anchor | None,
        *head: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        grad_TD = torch.empty_like(hidden_TD)
        outer = _Head(project, head)
        ce = kl = hidden_TD.new_zeros((), dtype=torch.float32)
        flagged_T = torch.zeros(len(labels_T), dtype=torch.bool, device=labels_T.device)
        if anchor is not None:
            flagged_T[anchor.rows_F] = True
            parts = zip(*(part.split(CHUNK_ROWS) for part in anchor[:3]), strict=True)
            for rows_C, reference_CD, weights_C in parts:
                piece = anchor._replace(rows_F=rows_C, reference_FD=reference_CD, weights_F=weights_C)
                anchored = _anchored(outer, hidden_TD, labels_T, ce_weight, piece)
                grad_TD[rows_C], ce, kl = anchored.grad_CD, ce + anchored.ce_sum, kl + anchored.weighted_kl
        rows_P = torch.nonzero(~flagged_T).flatten()
        for rows_C in rows_P.split(CHUNK_ROWS) if len(rows_P) else ():
            plain = _Chunk(outer, hidden_TD[rows_C], labels_T[rows_C], ce_weight).plain()
            grad_TD[rows_C], ce = plain.grad_CD, ce + plain.ce_sum
        ctx.save_for_backward(grad_TD, *(sums.to(weight.dtype) for sums, weight in zip(outer.grads, head, strict=True)))
        ctx.mark_non_differentiable(ce, kl)
        return ce_weight * ce + kl, ce, kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_sums: Tensor) -> tuple[Tensor | None, ...]:
        grad_TD, *head_grads = ctx.saved_tensors
        return grad * grad_TD, None, None, None, None, *(grad * head_grad for head_grad in head_grads)


class _Head:
    """The output head, and how a gradient by logits goes back through it; those of its weights add up."""

    def __init__(self, project: Project, head: Sequence[Tensor]) -> None:
        self.project = project
        self._weights = head
        self.grads = [torch.zeros_like(weight, dtype=torch.float32) for weight in head]

    def forward(self, hidden_CD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hidden states as a leaf, and their logits [C, V]."""
        with torch.enable_grad():
            leaf_CD = hidden_CD.detach().requires_grad_()
            return leaf_CD, self.project(leaf_CD)

    def back(self, leaf_CD: Tensor, logits_CV: Tensor, grad_CV: Tensor) -> Tensor:
        """Return the gradient by the hidden states."""
        grad_CD, *grads = torch.autograd.grad(logits_CV, (leaf_CD, *self._weights), grad_CV.to(logits_CV.dtype))
        for sums, grad in zip(self.grads, grads, strict=True):
            sums.add_(grad)
        return grad_CD


class _Terms(NamedTuple):
    grad_CD: Tensor
    ce_sum: Tensor
    weighted_kl: Tensor


def _anchored(head: _Head, hidden_TD: Tensor, labels_T: Tensor, ce_weight: float, piece: Anchor) -> _Terms:
    """CE and KL of a chunk's rows of an anchor. Its logits are gone before those of the next chunk are made."""
    reference_project = piece.project or head.project
    reference_CV = torch.log_softmax(reference_project(piece.reference_FD).float(), dim=-1)
    chunk = _Chunk(head, hidden_TD[piece.rows_F], labels_T[piece.rows_F], ce_weight)
    return chunk.anchored(reference_CV, piece.weights_F, piece.direction)


class _Chunk:
    """A few rows: logits once, and what follows from them, overwriting as it goes."""

    def __init__(self, head: _Head, hidden_CD: Tensor, labels_C: Tensor, ce_weight: float) -> None:
        self._head = head
        self._hidden_CD, self._logits_CV = head.forward(hidden_CD)
        self._labels_C1 = labels_C.unsqueeze(-1)
        self._ce_weight = ce_weight
        self._policy_CV = torch.log_softmax(self._logits_CV.detach().float(), dim=-1)
        self._ce_sum = -self._policy_CV.gather(-1, self._labels_C1).sum()

    def plain(self) -> _Terms:
        """CE alone."""
        return _Terms(
            self._pull(self._policy_CV.exp_().mul_(self._ce_weight)), self._ce_sum, self._ce_sum.new_zeros(())
        )

    def anchored(self, reference_CV: Tensor, weights_C: Tensor, direction: KlDirection) -> _Terms:
        """CE, and the KL to the reference's log-probs, which are overwritten too."""
        weights_C1 = weights_C.unsqueeze(-1)
        if direction is KlDirection.REVERSE:
            ratio_CV = torch.sub(self._policy_CV, reference_CV, out=reference_CV)
            p_CV = self._policy_CV.exp_()
            kl_C1 = torch.linalg.vecdot(p_CV, ratio_CV).unsqueeze(-1)
            grad_CV = ratio_CV.sub_(kl_C1).mul_(weights_C1).add_(self._ce_weight).mul_(p_CV)
        else:
            q_CV = reference_CV.exp()
            kl_C1 = torch.linalg.vecdot(q_CV, reference_CV.sub_(self._policy_CV)).unsqueeze(-1)
            p_CV = self._policy_CV.exp_()
            grad_CV = p_CV.mul_(weights_C1 + self._ce_weight).sub_(q_CV.mul_(weights_C1))
        return _Terms(self._pull(grad_CV), self._ce_sum, (kl_C1 * weights_C1).sum())

    def _pull(self, grad_CV: Tensor) -> Tensor:
        """The gradient by the hidden states, of p-like terms in `grad_CV` and of -onehot."""
        grad_CV.scatter_add_(-1, self._labels_C1, grad_CV.new_full(self._labels_C1.shape, -self._ce_weight))
        return self._head.back(self._hidden_CD, self._logits_CV, grad_CV)
