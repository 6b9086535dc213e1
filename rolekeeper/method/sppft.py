"""Safely Partial-Parameter Fine-Tuning (SPPFT): layers that tell harmful requests from others are not trained."""

from __future__ import annotations

_FIRST, _END, _OF = 5, 15, 32  # released: layers 5 to 14 of a model of 32


def safety_layers(num_layers: int) -> range:
    """Return the layers, from 0, that stay as they are: 5 to 14 of 32, scaled to the depth and rounded.

    SPPFT (arXiv 2408.17003). It finds them for each model by how far apart its hidden states put harmful and harmless
    requests; this is the range of its code, for models that nobody has measured.
    """
    return range(_scaled(_FIRST, num_layers), _scaled(_END, num_layers))


def _scaled(layer: int, num_layers: int) -> int:
    return (2 * layer * num_layers + _OF) // (2 * _OF)  # rounded, halves up
