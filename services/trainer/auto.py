"""Hyperparameters that are left to us: a number for each `auto`."""

from __future__ import annotations

from rolekeeper.contracts.jobs import AskedHyperparameters, Hyperparameters

_FEW_STEPS = 24
_MOST_EPOCHS = 10
_SAMPLES_PER_BATCH_STEP = 16
_LEAST_BATCH, _MOST_BATCH = 4, 32
_RATES = {"linear": 2e-4, "constant": 1e-4}
_RATE_OF_ALL_WEIGHTS = 2e-5


def choose_numbers(asked: AskedHyperparameters, num_samples: int) -> Hyperparameters:
    """Return the numbers for a training on so many samples; what was given stays.

    batch_size: the power of two at or below a sixteenth of the samples, from 4 to 32. epochs: 1, or for small sets as
    many as make some 24 steps, at most 10. learning_rate: 2e-4, the paper's 1e-4 if it does
    not fall, and its 2e-5 for all weights.
    """
    chosen: dict[str, object] = {}
    batch_size = _batch_size(num_samples) if asked.batch_size == "auto" else asked.batch_size
    if asked.epochs == "auto":
        steps_per_epoch = -(-num_samples // batch_size)
        chosen["epochs"] = max(1, min(_MOST_EPOCHS, round(_FEW_STEPS / steps_per_epoch)))
    if asked.learning_rate == "auto":
        chosen["learning_rate"] = _RATE_OF_ALL_WEIGHTS if asked.training == "full" else _RATES[asked.schedule]
    return Hyperparameters.model_validate({**asked.model_dump(), "batch_size": batch_size, **chosen})


def told(asked: AskedHyperparameters, used: Hyperparameters) -> str:
    """What was chosen, for the message of a job; empty if nothing was left to us."""
    names = [name for name, value in asked.model_dump().items() if value == "auto"]
    chosen = ", ".join(f"{name} {getattr(used, name)}" for name in names)
    return f"; chosen: {chosen}" if chosen else ""


def _batch_size(num_samples: int) -> int:
    power = 1 << (max(1, num_samples // _SAMPLES_PER_BATCH_STEP).bit_length() - 1)
    return max(_LEAST_BATCH, min(_MOST_BATCH, power))
