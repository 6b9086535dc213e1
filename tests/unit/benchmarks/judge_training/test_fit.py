"""Fitting the local judge: the minimum is one, and folds keep groups whole."""

from __future__ import annotations

from collections import Counter

import torch

from benchmarks.judge_training.fit import Examples, assign_folds, cross_validate, fit, fit_salad
from benchmarks.judge_training.written import read_voices
from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges.local import LABELS

NUM = 60


def make_examples(seed: int) -> Examples:
    """Points around three corners, a label each; groups of two."""
    generator = torch.Generator().manual_seed(seed)
    targets_B = torch.arange(NUM) % 3
    features_BF = torch.eye(3)[targets_B] * 3 + torch.randn(NUM, 3, generator=generator)
    return Examples(features_BF, [LABELS[target] for target in targets_B], [str(index // 2) for index in range(NUM)])


def test_the_gradient_is_zero_at_the_weights() -> None:
    examples = make_examples(0)
    weights_CF, bias_C = fit(examples.features_BF, examples.labels, penalty=0.5)
    features_BF = examples.features_BF.double()
    targets_BC = torch.eye(3, dtype=torch.float64)[[LABELS.index(label) for label in examples.labels]]
    # By hand: d/dW = (softmax - target)' x + penalty W, d/dc = sum of (softmax - target).
    surplus_BC = torch.softmax(features_BF @ weights_CF.T + bias_C, 1) - targets_BC
    assert float((surplus_BC.T @ features_BF + 0.5 * weights_CF).abs().max()) < 1e-3
    assert float(surplus_BC.sum(0).abs().max()) < 1e-3


def test_salads_are_told_from_language_as_two_classes_are() -> None:
    examples = make_examples(0)
    is_salad = torch.arange(NUM) % 3 == 2
    salad = fit_salad(examples.features_BF[~is_salad], examples.features_BF[is_salad], penalty=0.5)
    # By hand, for a difference d of two rows that are d/2 and -d/2: gradient (p - y)' x + penalty / 2 d, and sum p - y.
    features_BF = examples.features_BF.double()
    surplus_B = torch.sigmoid(features_BF @ salad.salad_F + salad.salad_bias) - is_salad.double()
    assert float((surplus_B @ features_BF + 0.25 * salad.salad_F).abs().max()) < 1e-3
    assert float(surplus_B.sum().abs()) < 1e-3
    said = features_BF @ salad.salad_F + salad.salad_bias > 0
    assert int((said != is_salad).sum()) <= 2


def test_folds_are_even_and_split_no_group() -> None:
    groups = [str(index // 3) for index in range(30)]
    folds = assign_folds(groups)
    assert sorted(Counter(folds).values()) == [6, 6, 6, 6, 6]
    assert len(set(zip(groups, folds, strict=True))) == 10


def test_nothing_is_predicted_by_weights_that_saw_its_group() -> None:
    examples, beside = make_examples(1), make_examples(2)
    # Each group's own direction gives its (wrong) label away: only who saw the group could use it.
    group_of = torch.tensor([int(group) for group in examples.groups])
    secret_BF = 50 * torch.eye(NUM // 2)[group_of]
    told = Examples(torch.cat([examples.features_BF, secret_BF], 1), examples.labels, examples.groups)
    besides = Examples(torch.cat([beside.features_BF, torch.zeros(NUM, NUM // 2)], 1), beside.labels, beside.groups)
    plain = cross_validate(examples, beside)
    assert cross_validate(told, besides) != list(examples.labels)
    agreement = sum(label == truth for label, truth in zip(plain, examples.labels, strict=True))
    assert agreement > 0.8 * NUM


def test_the_written_voices_hold_every_label_and_share_no_answer() -> None:
    seen, unseen = ([example.labelled for example in read_voices(part)] for part in ("seen", "unseen"))
    for part in (seen, unseen):
        assert {item.label for item in part} == set(Label)
    assert not {item.exchange.answer for item in seen} & {item.exchange.answer for item in unseen}
