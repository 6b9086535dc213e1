from __future__ import annotations

import pytest

from rolekeeper.method.sppft import safety_layers


@pytest.mark.parametrize(
    ("num_layers", "first", "last"), [(32, 5, 14), (30, 5, 13), (28, 4, 12), (16, 3, 7), (2, 0, 0)]
)
def test_the_released_layers_are_scaled_by_depth(num_layers: int, first: int, last: int) -> None:
    layers = safety_layers(num_layers)
    assert (layers[0], layers[-1]) == (first, last)


def test_a_single_layer_is_trained() -> None:
    assert list(safety_layers(1)) == []
