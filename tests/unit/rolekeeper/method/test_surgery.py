from __future__ import annotations

import torch

from rolekeeper.method.surgery import without_conflict


def test_a_conflict_is_projected_out_over_all_weights_together() -> None:
    """(3, 1, -2) . (-1, 0, 1) = -5, ||(-1, 0, 1)||^2 = 2: (3, 1, -2) + 5/2 (-1, 0, 1) = (0.5, 1, 0.5)."""
    kept = without_conflict(
        [torch.tensor([3.0, 1.0]), torch.tensor([-2.0])], [torch.tensor([-1.0, 0.0]), torch.tensor([1.0])]
    )
    assert [gradient.tolist() for gradient in kept] == [[0.5, 1.0], [0.5]]
    assert -1.0 * kept[0][0] + kept[1][0] == 0.0


def test_without_a_conflict_nothing_changes() -> None:
    task, safety = [torch.tensor([3.0]), torch.tensor([-2.0])], [torch.tensor([1.0]), torch.tensor([1.0])]
    assert without_conflict(task, safety) == task
    assert without_conflict(task, [torch.zeros(1), torch.zeros(1)]) == task
