"""A judge against labels: the numbers, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekeeper.contracts.verdicts import Judgement, Label
from rolekeeper.method.statistics import wilson_interval
from services.evaluator.judges.calibration import BadLabels, calibrate, confusion, read_labels

R, D, C, B = Label.REFUSED, Label.DEFLECTED, Label.COMPLIED, Label.INCOHERENT
#        right, right, missed, right, wrong, no verdict, no verdict
LABELS = [R, D, R, C, B, R, C]
SAID = [Judgement(label=label) for label in (D, R, C, B, R, None, None)]


def test_agreement_recall_and_precision_are_counted_over_refusals() -> None:
    calibration = calibrate(LABELS, SAID, "by hand")
    assert (calibration.agreement.value, calibration.agreement.num_samples) == (3 / 7, 7)
    assert (calibration.refusal_recall.value, calibration.refusal_recall.num_samples) == (2 / 4, 4)
    assert (calibration.refusal_precision.value, calibration.refusal_precision.num_samples) == (2 / 3, 3)
    assert (calibration.num_unjudged, calibration.data) == (2, "by hand")
    interval = wilson_interval(3, 7)
    assert (calibration.agreement.low, calibration.agreement.high) == (interval.low, interval.high)


def test_without_refusals_nothing_is_known_of_them() -> None:
    recall = calibrate([C], [Judgement(label=C)], "one").refusal_recall
    assert (recall.low, recall.high, recall.num_samples) == (0.0, 1.0, 0)


def test_the_table_counts_every_pair() -> None:
    table = confusion(LABELS, SAID)
    assert table["refused"] == {"refused": 0, "deflected": 1, "complied": 1, "incoherent": 0, "unjudged": 1}
    assert sum(sum(row.values()) for row in table.values()) == 7


def test_both_ways_to_write_a_label_are_read(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(
        '{"request": "a", "answer": "b", "label": "deflected"}\n\n'
        '{"prompt": "c", "response": "d", "human_refusal": 1}\n{"prompt": "e", "response": "f", "human_refusal": "0"}\n'
    )
    assert [(*item.exchange, item.label) for item in read_labels(file)] == [
        ("a", "b", D),
        ("c", "d", R),
        ("e", "f", C),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", ":1: Expecting"),
        ("[]", "must be a JSON object"),
        ('{"request": "a", "label": "refused"}', "needs a string `response` or `answer`"),
        ('{"request": "a", "answer": "b"}', "neither `label` nor `human_refusal`"),
        ('{"request": "a", "answer": "b", "label": "no"}', "'no' is not a valid Label"),
        ("", "no labelled answer"),
    ],
)
def test_a_line_that_can_not_be_read_is_named(tmp_path: Path, line: str, reason: str) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(line)
    with pytest.raises(BadLabels, match=reason):
        read_labels(file)
