from __future__ import annotations

import pytest

from rolekeeper.contracts.jobs import AskedHyperparameters, Hyperparameters
from services.trainer.auto import choose_numbers, told


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "epochs"),
    [(1, 4, 10), (12, 4, 8), (60, 4, 2), (100, 4, 1), (128, 8, 2), (500, 16, 1), (100_000, 32, 1)],
)
def test_numbers_follow_from_the_samples(num_samples: int, batch_size: int, epochs: int) -> None:
    asked = AskedHyperparameters(epochs="auto", batch_size="auto", learning_rate="auto", seed=3)
    chosen = choose_numbers(asked, num_samples)
    assert chosen == Hyperparameters(epochs=epochs, batch_size=batch_size, learning_rate=2e-4, seed=3)
    assert told(asked, chosen) == f"; chosen: epochs {epochs}, batch_size {batch_size}, learning_rate 0.0002"


def test_what_was_given_stays() -> None:
    asked = AskedHyperparameters(epochs="auto", batch_size=8, learning_rate="auto", schedule="constant")
    assert choose_numbers(asked, 64) == Hyperparameters(epochs=3, batch_size=8, learning_rate=1e-4, schedule="constant")
    assert choose_numbers(AskedHyperparameters(training="full", learning_rate="auto"), 64).learning_rate == 2e-5
    paper = AskedHyperparameters(preset="paper")
    assert choose_numbers(paper, 64) == Hyperparameters(preset="paper")
    assert told(paper, choose_numbers(paper, 64)) == ""
