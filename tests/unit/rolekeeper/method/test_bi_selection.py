"""Shapes: P weights, K safe anchors."""

from __future__ import annotations

import pytest
import torch

from rolekeeper.method.bi_selection import bidirectional_score, highest, mean_direction


def test_score_by_hand() -> None:
    """(0.6, 0.8) . (1, 0) = 0.6; minus (0.6, 0.8) . (0, 0.5) = 0.4 and . (-0.3, -0.4) = -0.5."""
    score = bidirectional_score(
        torch.tensor([3.0, 4.0]), torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 0.5], [-0.3, -0.4]])
    )
    assert score.item() == pytest.approx(0.6 - 0.4 + 0.5)


def test_an_anchor_by_hand() -> None:
    """(0.6, 0.8), (1, 0) and a gradient that is 0: the long one counts no more than the short one."""
    anchor = mean_direction([torch.tensor([300.0, 400.0]), torch.tensor([0.01, 0.0]), torch.zeros(2)])
    torch.testing.assert_close(anchor, torch.tensor([1.6 / 3, 0.8 / 3]))


def test_examples_that_agree_count_more_than_those_that_do_not() -> None:
    """Along both anchors alike, but the harmful examples agree and the safe ones do not."""
    along, across = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    agreed, split = mean_direction([along, along]), mean_direction([along, across])
    assert bidirectional_score(along, agreed, split[None]).item() == pytest.approx(1 - 0.5)


def test_length_does_not_matter() -> None:
    anchors = torch.tensor([1.0, 2.0]), torch.tensor([[2.0, -1.0]])
    near = bidirectional_score(torch.tensor([0.1, 0.3]), *anchors)
    far = bidirectional_score(torch.tensor([10.0, 30.0]), *anchors)
    assert near.item() == pytest.approx(far.item())


def test_the_highest_are_named_in_order() -> None:
    assert highest([0.1, 0.9, 0.9, -1.0, 0.5], 2) == [1, 2]
    assert highest([0.1, 0.9, 0.9, -1.0, 0.5], 3) == [1, 2, 4]
    assert highest([0.1], 0) == []
