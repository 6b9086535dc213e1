"""Hyperparameters that are left to us: a number for each `auto`."""

from __future__ import annotations

import math

from rolekeeper.contracts.hyperparameters import AskedHyperparameters, Hyperparameters

_FEW_STEPS = 24
_MOST_EPOCHS = 10
_SAMPLES_PER_BATCH_STEP = 16
_LEAST_BATCH, _MOST_BATCH = 4, 32
_SMALL, _LARGE = (135e6, 1e-3), (7e9, 2e-4)
"""Weights of the base model, and the rate of an adapter over it. Of smaller and larger ones, the same."""
_SHARE_IF_CONSTANT = 0.5
_RATE_OF_ALL_WEIGHTS = 2e-5


def choose_numbers(asked: AskedHyperparameters, num_samples: int, num_weights: int | None = None) -> Hyperparameters:
    """Return the numbers for a training on so many samples of a base model of so many weights; what was given stays.

    batch_size: the power of two at or below a sixteenth of the samples, from 4 to 32. epochs: 1, or for small sets as
    many as make some 24 steps, at most 10. learning_rate: `adapter_rate`, half of it if it does not fall, and the
    paper's 2e-5 for all weights.
    """
    chosen: dict[str, object] = {}
    batch_size = _batch_size(num_samples) if asked.batch_size == "auto" else asked.batch_size
    if asked.epochs == "auto":
        steps_per_epoch = -(-num_samples // batch_size)
        chosen["epochs"] = max(1, min(_MOST_EPOCHS, round(_FEW_STEPS / steps_per_epoch)))
    if asked.learning_rate == "auto":
        chosen["learning_rate"] = _learning_rate(asked, num_weights)
    return Hyperparameters.model_validate({**asked.model_dump(), "batch_size": batch_size, **chosen})


def adapter_rate(num_weights: int | None) -> float:
    """Return the peak learning rate of LoRA, to two digits. That of 7 billion weights where their number is not known.

    On a straight line of log rate by log weights: small models learn next to nothing at the rates of large ones.
    """
    (few, high), (many, low) = _SMALL, _LARGE
    within = min(max(num_weights or many, few), many)
    place = math.log(within / few) / math.log(many / few)
    return float(f"{high * (low / high) ** place:.2g}")


def _learning_rate(asked: AskedHyperparameters, num_weights: int | None) -> float:
    if asked.training == "full":
        return _RATE_OF_ALL_WEIGHTS
    rate = adapter_rate(num_weights)
    return rate * _SHARE_IF_CONSTANT if asked.schedule == "constant" else rate


def told(asked: AskedHyperparameters, used: Hyperparameters) -> str:
    """What was chosen, for the message of a job; empty if nothing was left to us."""
    names = [name for name, value in asked.model_dump().items() if value == "auto"]
    chosen = ", ".join(f"{name} {getattr(used, name)}" for name in names)
    return f"; chosen: {chosen}" if chosen else ""


def _batch_size(num_samples: int) -> int:
    power = 1 << (max(1, num_samples // _SAMPLES_PER_BATCH_STEP).bit_length() - 1)
    return max(_LEAST_BATCH, min(_MOST_BATCH, power))
