from __future__ import annotations

import math

import pytest
import torch

from rolekeeper.method.limit import step_back


def test_the_way_back_ends_where_a_linear_kl_meets_the_limit() -> None:
    """KL = 3 w_0 + 4 w_1 + 0.1 is 0.6 at (0.1, 0.05): 0.4 over 0.2, ||(3, 4)||^2 = 25, a = 0.016."""
    weights, gradient = torch.tensor([0.1, 0.05], dtype=torch.float64), torch.tensor([3.0, 4.0], dtype=torch.float64)
    factor = step_back(0.6 - 0.2, 25.0, math.inf)
    assert factor == pytest.approx(0.016)
    assert float((weights - factor * gradient) @ gradient) + 0.1 == pytest.approx(0.2)


def test_it_is_no_longer_than_allowed() -> None:
    """0.016 * 5 = 0.08 long; 0.05 allow a = 0.01."""
    assert step_back(0.4, 25.0, 0.08) == pytest.approx(0.016)
    assert step_back(0.4, 25.0, 0.05) == pytest.approx(0.01)


@pytest.mark.parametrize(("excess", "squared_norm"), [(0.0, 25.0), (-0.1, 25.0), (0.4, 0.0)])
def test_within_the_limit_or_without_a_gradient_nothing_moves(excess: float, squared_norm: float) -> None:
    assert step_back(excess, squared_norm, 1.0) == 0.0
