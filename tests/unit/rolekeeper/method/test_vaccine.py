from __future__ import annotations

import torch

from rolekeeper.method.vaccine import perturbations


def test_the_norm_is_over_all_layers_together() -> None:
    """||(3, 4)|| = 5, so rho 2 makes of them 3 * 2/5 and 4 * 2/5."""
    shifts = perturbations([torch.tensor([[3.0]]), torch.tensor([[0.0], [4.0]])], rho=2.0)
    torch.testing.assert_close(shifts[0], torch.tensor([[1.2]]))
    torch.testing.assert_close(shifts[1], torch.tensor([[0.0], [1.6]]))


def test_without_a_gradient_nothing_is_shifted() -> None:
    (shift,) = perturbations([torch.zeros(2, 3)], rho=2.0)
    assert torch.equal(shift, torch.zeros(2, 3))
