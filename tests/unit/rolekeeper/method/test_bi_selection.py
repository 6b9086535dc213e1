"""Shapes: P weights, K safe anchors."""

from __future__ import annotations

import pytest
import torch

from rolekeeper.method.bi_selection import bidirectional_score, highest


def test_score_by_hand() -> None:
    """cos((3, 4), (1, 0)) = 0.6; minus cos with (0, 2) = 0.8 and with (-3, -4) = -1."""
    score = bidirectional_score(
        torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 2.0], [-3.0, -4.0]])
    )
    assert score.item() == pytest.approx(0.6 - 0.8 + 1.0)


def test_length_does_not_matter() -> None:
    anchors = torch.tensor([1.0, 2.0]), torch.tensor([[2.0, -1.0]])
    near = bidirectional_score(torch.tensor([0.1, 0.3]), *anchors)
    far = bidirectional_score(torch.tensor([10.0, 30.0]), *anchors)
    assert near.item() == pytest.approx(far.item())


def test_the_highest_are_named_in_order() -> None:
    assert highest([0.1, 0.9, 0.9, -1.0, 0.5], 2) == [1, 2]
    assert highest([0.1, 0.9, 0.9, -1.0, 0.5], 3) == [1, 2, 4]
    assert highest([0.1], 0) == []
