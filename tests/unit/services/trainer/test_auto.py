from __future__ import annotations

import pytest

from rolekeeper.contracts.hyperparameters import AskedHyperparameters, Hyperparameters
from services.trainer.auto import adapter_rate, choose_numbers, told


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


@pytest.mark.parametrize(
    ("num_weights", "rate"),
    [
        (1_000_000, 1e-3),
        (134_515_008, 1e-3),
        (361_821_120, 6.7e-4),
        (972_111_111, 4.5e-4),  # the geometric mean of 135 million and 7 billion: that of the rates
        (7_000_000_000, 2e-4),
        (70_000_000_000, 2e-4),
        (None, 2e-4),
    ],
)
def test_the_rate_falls_with_the_size_of_the_base_model(num_weights: int | None, rate: float) -> None:
    assert adapter_rate(num_weights) == rate


def test_the_rate_is_chosen_where_none_is_asked_for() -> None:
    asked = AskedHyperparameters()
    assert choose_numbers(asked, 64, 134_515_008) == Hyperparameters(learning_rate=1e-3)
    assert told(asked, choose_numbers(asked, 64, 134_515_008)) == "; chosen: learning_rate 0.001"
    constant = AskedHyperparameters(schedule="constant")
    assert choose_numbers(constant, 64, 134_515_008).learning_rate == 5e-4
    assert choose_numbers(AskedHyperparameters(preset="paper"), 64, 134_515_008).learning_rate == 1e-4
    assert choose_numbers(AskedHyperparameters(training="full"), 64, 134_515_008).learning_rate == 2e-5
