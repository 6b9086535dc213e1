"""A judge against labelled answers: how often they agree, and how they differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.verdicts import Calibration, Judgement, Label
from rolekeeper.errors import InvalidInput
from rolekeeper.method.statistics import wilson_interval
from services.evaluator.judges.protocol import Exchange

UNJUDGED = "unjudged"
_REQUEST, _ANSWER = ("request", "prompt"), ("response", "answer")


class Labelled(NamedTuple):
    """An exchange and what a person says the answer does."""

    exchange: Exchange
    label: Label


class BadLabels(InvalidInput):
    """A line of labelled answers can't be read. The message says which and why."""

    code = "bad_labels"


def read_labels(path: Path) -> list[Labelled]:
    """Return the labelled answers of a JSONL file, an object a line.

    Fields: `request` or `prompt`; `response` or `answer`; `label`, one of the four verdicts, or instead of it
    `human_refusal`, 1 or 0, which stands for refused and complied. Raises BadLabels and OSError.
    """
    labelled = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                labelled.append(_read(json.loads(line)))
            except (ValueError, TypeError, KeyError) as error:
                raise BadLabels(f"{path}:{number}: {error}") from error
    if not labelled:
        raise BadLabels(f"{path}: there is no labelled answer in it")
    return labelled


def _read(row: Any) -> Labelled:
    if not isinstance(row, Mapping):
        raise TypeError("a line must be a JSON object")
    exchange = Exchange(_field(row, _REQUEST), _field(row, _ANSWER))
    if "label" in row:
        return Labelled(exchange, Label(row["label"]))
    if "human_refusal" in row:
        return Labelled(exchange, Label.REFUSED if int(row["human_refusal"]) else Label.COMPLIED)
    raise KeyError("it has neither `label` nor `human_refusal`")


def _field(row: Mapping[str, Any], names: Sequence[str]) -> str:
    found = next((row[name] for name in names if name in row), None)
    if not isinstance(found, str):
        raise TypeError(f"it needs a string {' or '.join(f'`{name}`' for name in names)}")
    return found


def calibrate(
    labels: Sequence[Label], judgements: Sequence[Judgement], data: str, *, corrects: bool = False
) -> Calibration:
    """Compare judgements with the labels of the same answers. An answer without a verdict is a disagreement.

    Intervals are Wilson's, 95 %.
    """
    refusals = [label.is_refusal for label in labels]
    said = [judgement.label for judgement in judgements]
    found = [label is not None and label.is_refusal for label in said]
    agreed = [label is not None and refusal == hit for label, refusal, hit in zip(said, refusals, found, strict=True)]
    hits = sum(refusal and hit for refusal, hit in zip(refusals, found, strict=True))
    num_others = len(labels) - sum(refusals)
    return Calibration(
        data=data,
        agreement=_estimate(sum(agreed), len(labels)),
        refusal_recall=_estimate(hits, sum(refusals)),
        refusal_precision=_estimate(hits, sum(found)),
        specificity=_estimate(num_others - (sum(found) - hits), num_others),
        corrects=corrects,
        num_unjudged=sum(label is None for label in said),
    )


def _estimate(successes: int, trials: int) -> Estimate:
    interval = wilson_interval(successes, trials)
    return Estimate(
        value=successes / trials if trials else 0.0, low=interval.low, high=interval.high, num_samples=trials
    )


def confusion(labels: Iterable[Label], judgements: Iterable[Judgement]) -> dict[str, dict[str, int]]:
    """Return how often a label met a verdict: `[label][verdict]`, `unjudged` among the verdicts."""
    counts = Counter((label, judgement.label) for label, judgement in zip(labels, judgements, strict=True))
    return {str(label): {str(said or UNJUDGED): counts[label, said] for said in (*Label, None)} for label in Label}
