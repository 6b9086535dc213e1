"""Softmax regression with a quadratic penalty, and its predictions on groups that it did not see.

Shape suffixes: B examples, F features, C labels (in the order of LABELS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional

from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges.local import LABELS

PENALTY = 1 / 9
"""Of half the squared weights, against the summed cross-entropy. Chosen by cross-validation on what is trained on."""

NUM_FOLDS = 5


class Weights(NamedTuple):
    """What is fitted."""

    weights_CF: torch.Tensor
    bias_C: torch.Tensor

    def predict(self, features_BF: torch.Tensor) -> list[Label]:
        """Return the most likely label of each example."""
        scores_BC = features_BF.double() @ self.weights_CF.T + self.bias_C
        return [LABELS[index] for index in scores_BC.argmax(1).tolist()]


class Salad(NamedTuple):
    """What tells a salad of words from language: its features times `salad_F`, and the bias, are above 0."""

    salad_F: torch.Tensor
    salad_bias: torch.Tensor


def fit(features_BF: torch.Tensor, labels: Sequence[Label], penalty: float = PENALTY) -> Weights:
    """Minimise sum_b CE(W x_b + c, y_b) + penalty / 2 ||W||^2 by L-BFGS, in float64 from zero. The bias is free."""
    targets_B = torch.tensor([LABELS.index(label) for label in labels])
    return Weights(*_minimise(features_BF.double(), targets_B, len(LABELS), penalty))


def fit_salad(language_BF: torch.Tensor, salad_BF: torch.Tensor, penalty: float = PENALTY) -> Salad:
    """Fit what tells salads from language, by the same objective with two classes: their difference is what counts."""
    targets_B = torch.tensor([0] * len(language_BF) + [1] * len(salad_BF))
    weights_CF, bias_C = _minimise(torch.cat([language_BF, salad_BF]).double(), targets_B, 2, penalty)
    return Salad(weights_CF[1] - weights_CF[0], bias_C[1] - bias_C[0])


def _minimise(
    inputs_BF: torch.Tensor, targets_B: torch.Tensor, num_classes: int, penalty: float
) -> tuple[torch.Tensor, torch.Tensor]:
    weights_CF = torch.zeros(num_classes, inputs_BF.shape[1], dtype=torch.float64, requires_grad=True)
    bias_C = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights_CF, bias_C], max_iter=500, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        cross_entropy = functional.cross_entropy(inputs_BF @ weights_CF.T + bias_C, targets_B, reduction="sum")
        loss = cross_entropy + penalty / 2 * weights_CF.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return weights_CF.detach(), bias_C.detach()


def assign_folds(groups: Sequence[str], num_folds: int = NUM_FOLDS) -> list[int]:
    """Return each example's fold: whole groups, the largest first, each to the fold that is smallest so far."""
    sizes = dict.fromkeys(groups, 0)
    for group in groups:
        sizes[group] += 1
    filled = [0] * num_folds
    fold_of: dict[str, int] = {}
    for group in sorted(sizes, key=lambda name: (-sizes[name], name)):
        fold_of[group] = filled.index(min(filled))
        filled[fold_of[group]] += sizes[group]
    return [fold_of[group] for group in groups]


class Examples(NamedTuple):
    """Features, labels and groups of the same examples."""

    features_BF: torch.Tensor
    labels: Sequence[Label]
    groups: Sequence[str]


def cross_validate(tested: Examples, beside: Examples) -> list[Label]:
    """Predict each example of `tested` by weights that were fitted without its fold, but with all of `beside`."""
    folds = assign_folds(tested.groups)
    predicted: list[Label | None] = [None] * len(folds)
    for fold in range(NUM_FOLDS):
        inside = [index for index, other in enumerate(folds) if other == fold]
        outside = [index for index, other in enumerate(folds) if other != fold]
        weights = fit(
            torch.cat([tested.features_BF[outside], beside.features_BF]),
            [*(tested.labels[index] for index in outside), *beside.labels],
        )
        for index, label in zip(inside, weights.predict(tested.features_BF[inside]), strict=True):
            predicted[index] = label
    return [label for label in predicted if label is not None]
