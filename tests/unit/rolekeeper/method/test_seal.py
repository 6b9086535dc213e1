"""Shapes: N training samples, B those of a batch."""

from __future__ import annotations

import math

import pytest
import torch

from rolekeeper.method.seal import least_safe, loss_factors, safety_share, sample_weights, selector_loss


def test_weights_are_a_softmax_with_mean_one() -> None:
    """softmax(0, ln 3) = (1/4, 3/4), times 2."""
    torch.testing.assert_close(sample_weights(torch.tensor([0.0, math.log(3)])), torch.tensor([0.5, 1.5]))


def test_the_share_of_the_safe_set_falls_from_one() -> None:
    assert [safety_share(epoch) for epoch in (0, 1, 2, 100)] == [1.0, 0.97, 0.94, 0.0]


def test_the_model_learns_from_both_sets() -> None:
    """0.75 * (1 + 3)/2 + 0.25 * (0.5 * 4 + 1.5 * 2)/2 = 1.5 + 0.625."""
    factors = loss_factors(torch.tensor([0.5, 1.5]), share=0.75)
    loss = factors.safe * (1 + 3) + (factors.sample_B * torch.tensor([4.0, 2.0])).sum()
    assert loss.item() == pytest.approx(2.125)


def test_the_selector_takes_weight_from_hard_samples() -> None:
    """With three equal logits and a batch of samples 0 and 2, p = 1 and dL/dw_j = (l_j [j in batch] - sum l/3) / 2."""
    logits_N = torch.full((3,), 0.1, requires_grad=True)
    loss_B = torch.tensor([4.0, 1.0], requires_grad=True)
    loss = selector_loss(logits_N, torch.tensor([0, 2]), loss_B)
    assert loss.item() == pytest.approx(2.5)
    (gradient_N,) = torch.autograd.grad(loss, [logits_N])
    mean = (4 + 1) / 3
    torch.testing.assert_close(gradient_N, torch.tensor([(4 - mean) / 2, -mean / 2, (1 - mean) / 2]))


def test_the_samples_of_least_weight_are_named_in_order() -> None:
    logits_N = torch.tensor([0.3, -1.0, 0.3, 2.0, -2.0])
    assert least_safe(logits_N, 2) == [1, 4]
    assert least_safe(logits_N, 3) == [1, 2, 4]
    assert least_safe(logits_N, 0) == []
