"""Shapes: T tokens, F flagged ones, D hidden, V vocabulary."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from rolekeeper.method import fused
from rolekeeper.method.fused import Anchor, Project, fused_rbo
from rolekeeper.method.rbo import KlDirection, ce_sum, kl_sum, rbo_loss, token_kl

D, V = 12, 40


def head(softcap: float | None = None, dtype: torch.dtype = torch.float32) -> Project:
    weight_VD = torch.randn(V, D, generator=torch.Generator().manual_seed(1)).to(dtype)

    def project(hidden_TD: Tensor) -> Tensor:
        logits_TV = hidden_TD @ weight_VD.T
        return logits_TV if softcap is None else torch.tanh(logits_TV / softcap) * softcap

    return project


class Case(NamedTuple):
    hidden_TD: Tensor
    labels_T: Tensor
    anchor: Anchor | None


def make_case(num_tokens: int, flagged: Sequence[int], direction: KlDirection = KlDirection.REVERSE) -> Case:
    generator = torch.Generator().manual_seed(num_tokens)
    hidden_TD = torch.randn(num_tokens, D, generator=generator, requires_grad=True)
    labels_T = torch.randint(V, (num_tokens,), generator=generator)
    reference_FD = torch.randn(len(flagged), D, generator=generator)
    weights_F = torch.rand(len(flagged), generator=generator)
    anchor = Anchor(torch.tensor(flagged), reference_FD, weights_F, direction) if flagged else None
    return Case(hidden_TD, labels_T, anchor)


def dense(project: Project, hidden_TD: Tensor, labels_T: Tensor, ce_weight: float, anchor: Anchor | None) -> Tensor:
    """The naive twin: all logits at once, and autograd."""
    logits_TV = project(hidden_TD)
    loss = ce_weight * -logits_TV.log_softmax(-1)[torch.arange(len(labels_T)), labels_T].sum()
    if anchor is not None:
        p, q = logits_TV[anchor.rows_F].log_softmax(-1), project(anchor.reference_FD).log_softmax(-1)
        p, q = (p, q) if anchor.direction is KlDirection.REVERSE else (q, p)
        loss = loss + (anchor.weights_F * (p.exp() * (p - q)).sum(-1)).sum()
    return loss


def test_one_token_by_hand() -> None:
    # Two words, logits log 3 and 0: p = (3/4, 1/4), and the label is the second. The reference is even: q = (1/2, 1/2).
    hidden_TD = torch.tensor([[math.log(3.0), 0.0]], requires_grad=True)
    anchor = Anchor(torch.tensor([0]), torch.zeros(1, 2), torch.tensor([2.0]), KlDirection.REVERSE)
    out = fused_rbo(lambda hidden: hidden * 1.0, hidden_TD, torch.tensor([1]), 0.5, anchor)
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert out.ce_sum.item() == pytest.approx(math.log(4))
    assert out.weighted_kl.item() == pytest.approx(2 * kl)
    assert out.loss.item() == pytest.approx(0.5 * math.log(4) + 2 * kl)
    torch.autograd.backward(out.loss)
    first = 0.5 * 0.75 + 2 * 0.75 * (math.log(1.5) - kl)
    assert hidden_TD.grad is not None
    assert hidden_TD.grad.tolist()[0] == pytest.approx([first, -first])


@pytest.mark.parametrize("direction", list(KlDirection))
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("flagged", [[], [0, 2, 5], list(range(11))])
def test_loss_and_gradient_are_those_of_a_dense_fp64_reference(
    direction: KlDirection, softcap: float | None, flagged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "CHUNK_ROWS", 4)
    hidden_TD, labels_T, anchor = make_case(11, flagged, direction)
    out = fused_rbo(head(softcap), hidden_TD, labels_T, 0.3, anchor)
    (ours,) = torch.autograd.grad(2.0 * out.loss, hidden_TD)

    hidden64_TD = hidden_TD.detach().double().requires_grad_()
    anchor64 = anchor and anchor._replace(
        reference_FD=anchor.reference_FD.double(), weights_F=anchor.weights_F.double()
    )
    expected = dense(head(softcap, torch.float64), hidden64_TD, labels_T, 0.3, anchor64)
    (theirs,) = torch.autograd.grad(2.0 * expected, hidden64_TD)
    assert out.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    error = (ours.double() - theirs).norm() / theirs.norm()
    assert error.item() <= 1e-5
    assert out.loss.item() == pytest.approx(0.3 * out.ce_sum.item() + out.weighted_kl.item(), rel=1e-6)


@pytest.mark.parametrize("direction", list(KlDirection))
def test_the_sums_are_those_of_the_method(direction: KlDirection) -> None:
    hidden_TD, labels_T, anchor = make_case(9, [1, 4], direction)
    assert anchor is not None
    out = fused_rbo(head(), hidden_TD, labels_T, 1.0, anchor)
    logits_TV = head()(hidden_TD)
    kl_F = token_kl(logits_TV[anchor.rows_F], head()(anchor.reference_FD), direction)
    torch.testing.assert_close(out.ce_sum, ce_sum(logits_TV, labels_T))
    torch.testing.assert_close(out.weighted_kl, (anchor.weights_F * kl_F).sum())


@pytest.mark.parametrize("direction", list(KlDirection))
def test_with_the_weights_of_rbo_it_is_the_loss_as_stated(direction: KlDirection) -> None:
    # Four samples of 2, 3, 1 and 4 tokens, of which the second and the last are flagged; lambda is 0.7.
    sample_T = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3, 3])
    rows_F = torch.tensor([2, 3, 4, 6, 7, 8, 9])
    hidden_TD, labels_T, anchor = make_case(10, rows_F.tolist(), direction)
    assert anchor is not None
    num_tokens_F = torch.tensor([3, 3, 3, 4, 4, 4, 4])
    out = fused_rbo(head(), hidden_TD, labels_T, 1 / 10, anchor._replace(weights_F=0.7 / (num_tokens_F * 4)))
    logits_TV = head()(hidden_TD)
    kl_F = token_kl(logits_TV[rows_F], head()(anchor.reference_FD), direction)
    kl = kl_sum(kl_F, sample_T[rows_F], num_samples=4)
    stated = rbo_loss(ce_sum(logits_TV, labels_T), 10, kl, num_samples=4, kl_weight=0.7)
    torch.testing.assert_close(out.loss, stated)
    (ours,), (theirs,) = (torch.autograd.grad(loss, hidden_TD) for loss in (out.loss, stated))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_logits_exist_for_a_chunk_of_rows_only() -> None:
    rows: list[int] = []

    def project(hidden_TD: Tensor) -> Tensor:
        rows.append(len(hidden_TD))
        return head()(hidden_TD)

    hidden_TD, labels_T, anchor = make_case(700, range(0, 700, 2))
    fused_rbo(project, hidden_TD, labels_T, 1.0, anchor)
    assert max(rows) == fused.CHUNK_ROWS
    assert sum(rows) == 700 + 350


@pytest.mark.parametrize("direction", list(KlDirection))
def test_the_logits_of_a_chunk_are_gone_before_the_next_are_made(direction: KlDirection) -> None:
    made: list[weakref.ref[Tensor]] = []

    def project(hidden_TD: Tensor) -> Tensor:
        assert [logits() for logits in made] == [None] * len(made)
        logits_TV = head()(hidden_TD)
        made.append(weakref.ref(logits_TV))
        return logits_TV

    hidden_TD, labels_T, anchor = make_case(700, range(0, 700, 2), direction)
    fused_rbo(project, hidden_TD, labels_T, 1.0, anchor)
    assert len(made) == 3 * 3


def test_a_nan_is_in_the_loss() -> None:
    hidden_TD, labels_T, _ = make_case(5, [])
    with torch.no_grad():
        hidden_TD[3] = float("nan")
    assert math.isnan(fused_rbo(head(), hidden_TD, labels_T, 1.0).loss.item())


@pytest.mark.parametrize("direction", list(KlDirection))
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("flagged", [[], [0, 2, 5]])
def test_a_head_that_is_trained_gets_the_gradient_of_a_dense_fp64_reference(
    direction: KlDirection, softcap: float | None, flagged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "CHUNK_ROWS", 4)
    hidden_TD, labels_T, anchor = make_case(11, flagged, direction)
    # The reference keeps the old head; the policy's has moved.
    anchor = anchor and anchor._replace(project=head(softcap))
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    for dtype, results in ((torch.float32, ours), (torch.float64, theirs)):
        weight_VD = torch.randn(V, D, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()
        hidden = hidden_TD.detach().to(dtype).requires_grad_()

        def project(rows_CD: Tensor, weight_VD: Tensor = weight_VD) -> Tensor:
            logits_CV = rows_CD @ weight_VD.T
            return logits_CV if softcap is None else torch.tanh(logits_CV / softcap) * softcap

        if dtype == torch.float32:
            loss = fused_rbo(project, hidden, labels_T, 0.3, anchor, [weight_VD]).loss
        else:
            loss = dense_with_old_head(project, hidden, labels_T, 0.3, anchor, head(softcap, dtype))
        results.extend(torch.autograd.grad(2.0 * loss, [hidden, weight_VD]))
    for mine, expected in zip(ours, theirs, strict=True):
        assert ((mine.double() - expected).norm() / expected.norm()).item() <= 1e-5


def dense_with_old_head(
    project: Project, hidden_TD: Tensor, labels_T: Tensor, ce_weight: float, anchor: Anchor | None, old: Project
) -> Tensor:
    """The naive twin where the reference has another head."""
    loss = dense(project, hidden_TD, labels_T, ce_weight, None)
    if anchor is None:
        return loss
    policy_FV = project(hidden_TD[anchor.rows_F]).log_softmax(-1)
    reference_FV = old(anchor.reference_FD.double()).log_softmax(-1)
    p, q = (policy_FV, reference_FV) if anchor.direction is KlDirection.REVERSE else (reference_FV, policy_FV)
    return loss + (anchor.weights_F * (p.exp() * (p - q)).sum(-1)).sum()
