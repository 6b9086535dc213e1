from __future__ import annotations

import pytest
import torch

from rolekeeper.method.token_weights import margin_weights


def test_weights_by_hand() -> None:
    """Above 0 are 1 and 3, which make 4: 4 * 1 / 4 and 4 * 3 / 4."""
    weights_T = margin_weights(torch.tensor([1.0, -5.0, 3.0, 0.0]))
    assert weights_T.tolist() == [1.0, 0.0, 3.0, 0.0]
    assert weights_T.dtype == torch.float32


@pytest.mark.parametrize("margins", [[-1.0, -2.0], [0.0, 0.0, 0.0], [0.7]])
def test_without_a_difference_all_tokens_count_alike(margins: list[float]) -> None:
    assert margin_weights(torch.tensor(margins)).tolist() == [1.0] * len(margins)


def test_the_mean_is_one_and_the_scale_of_the_margins_does_not_matter() -> None:
    margin_T = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    weights_T = margin_weights(margin_T)
    assert weights_T.double().mean().item() == pytest.approx(1.0, rel=1e-6)
    torch.testing.assert_close(margin_weights(100 * margin_T), weights_T)
    assert bool((weights_T >= 0).all())
