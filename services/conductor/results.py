"""What pairs of judged answers amount to, by suite, part and judge. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import Literal, TypeVar

from rolekeeper.contracts.characters import Context, Message
from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.results import (
    CategoryRefusals,
    Comparison,
    Disagreement,
    JudgedRefusals,
    LabelCounts,
    PairedDifference,
    PartResults,
    Refusals,
)
from rolekeeper.contracts.suites import HARMLESS
from rolekeeper.contracts.verdicts import Calibration, JudgeUsed, Label, Verdict
from rolekeeper.method.judge_error import JudgeError, correct_rate
from rolekeeper.method.statistics import (
    Z_95,
    PairedCounts,
    cohen_kappa,
    count_pairs,
    mcnemar_exact,
    paired_difference,
    wilson_interval,
)

Better = Literal["higher", "lower"]
R = TypeVar("R", bound=Refusals)
NO_ERRORS: Mapping[JudgeName, JudgeError] = MappingProxyType({})


@dataclass(frozen=True)
class Pair:
    """One item and both models' verdicts on it. `suite` is the label of its suite, if it is of one.

    `goal` is the plain request, where `prompt` is an attack, and `turns` come before it.
    """

    suite: str | None
    part: str
    category: str
    prompt: str
    reference: str | None
    base: Verdict
    tuned: Verdict
    goal: str | None = None
    context: Context = Context.PLAIN
    turns: tuple[Message, ...] = ()


def errors_of(judges: Iterable[JudgeUsed]) -> dict[JudgeName, JudgeError]:
    """Return what the rates of each judge are corrected by, where that was measured."""
    found = {judge.name: _error_of(one) for judge in judges for one in judge.calibrations if one.corrects}
    return {name: error for name, error in found.items() if error is not None}


def _error_of(calibration: Calibration) -> JudgeError | None:
    recall, specificity = calibration.refusal_recall, calibration.specificity
    if specificity is None:
        return None
    return JudgeError(recall.value, recall.num_samples, specificity.value, specificity.num_samples)


def share_estimate(count: int, total: int) -> Estimate:
    """Return the share `count / total` with its 95 % Wilson interval. `total` must not be 0."""
    interval = wilson_interval(count, total)
    return Estimate(value=count / total, low=interval.low, high=interval.high, num_samples=total)


def difference_of_rates(counts: PairedCounts) -> PairedDifference:
    """Return tuned minus base with interval and p-value. There must be pairs."""
    low, high = paired_difference(counts)
    value = (counts.num_tuned - counts.num_base) / counts.num_pairs
    return PairedDifference(value=value, low=low, high=high, num_pairs=counts.num_pairs, p_value=mcnemar_exact(counts))


def part_results(
    pairs: Iterable[Pair], judges: Sequence[JudgeName], errors: Mapping[JudgeName, JudgeError] = NO_ERRORS
) -> tuple[PartResults, ...]:
    """Return what the judges say of each part of each suite, in the order in which the parts are asked.

    Rates of a judge whose `errors` are known are corrected for them too.
    """
    parts: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        if pair.suite is not None and pair.reference is None:
            parts.setdefault((pair.suite, pair.part), []).append(pair)
    return tuple(
        PartResults(
            suite=suite,
            part=part,
            better="lower" if part in HARMLESS else "higher",
            num_prompts=len(chosen),
            babble=babble_measure(chosen, "babble_rate", "Share of answers that are no language"),
            judges=tuple(_corrected(_judged(chosen, judge), errors.get(judge)) for judge in judges),
            disagreements=tuple(_disagreement(chosen, *two) for two in combinations(judges, 2)),
        )
        for (suite, part), chosen in parts.items()
    )


def refusal_measure(pairs: Sequence[Pair], judge: JudgeName, name: str, description: str, better: Better) -> Comparison:
    """Return a measure of the pairs, of which both answers must have a label."""
    return rate_measure(_refused_pairs(pairs, judge), name, description, better)


def rate_measure(counts: PairedCounts, name: str, description: str, better: Better) -> Comparison:
    """Return how often something holds for the answers of both models. There must be pairs."""
    return Comparison(
        name=name,
        description=f"{description}; Wilson intervals, Newcombe's for the difference",
        better=better,
        base=share_estimate(counts.num_base, counts.num_pairs),
        tuned=share_estimate(counts.num_tuned, counts.num_pairs),
        difference=difference_of_rates(counts),
    )


def babble_measure(pairs: Iterable[Pair], name: str, description: str) -> Comparison | None:
    """Return how often answers are no language. None where no pair of answers was looked at for it."""
    known = [pair for pair in pairs if pair.base.babble is not None and pair.tuned.babble is not None]
    if not known:
        return None
    counts = count_pairs([bool(pair.base.babble) for pair in known], [bool(pair.tuned.babble) for pair in known])
    return rate_measure(counts, name, description, "lower")


def each_prompt_once(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs without those that ask again, in the same part and context, what an earlier suite asks."""
    first: dict[object, Pair] = {}
    for pair in pairs:
        first.setdefault((pair.part, pair.context, pair.turns, pair.prompt), pair)
    return list(first.values())


def judged_pairs(pairs: Iterable[Pair], judge: JudgeName) -> list[Pair]:
    """Return the pairs where the judge gave both answers a label."""
    return [pair for pair in pairs if _label(pair.base, judge) and _label(pair.tuned, judge)]


def _judged(pairs: Sequence[Pair], judge: JudgeName) -> JudgedRefusals:
    categories: dict[str, list[Pair]] = {}
    for pair in pairs:
        categories.setdefault(pair.category, []).append(pair)
    by_category = (
        _refusals(partial(CategoryRefusals, category=category), chosen, judge)
        for category, chosen in sorted(categories.items())
    )
    return _refusals(partial(JudgedRefusals, judge=judge, categories=tuple(by_category)), pairs, judge)


def _corrected(judged: JudgedRefusals, error: JudgeError | None) -> JudgedRefusals:
    if error is None:
        return judged
    base, tuned = (correct_estimate(rate, error) for rate in (judged.base_rate, judged.tuned_rate))
    return judged.model_copy(update={"base_corrected": base, "tuned_corrected": tuned})


def correct_estimate(rate: Estimate | None, error: JudgeError, z: float = Z_95) -> Estimate | None:
    """Return the rate corrected for a judge's errors, on as many answers; none where that can't be."""
    if rate is None:
        return None
    corrected = correct_rate(round(rate.value * rate.num_samples), rate.num_samples, error, z)
    return corrected and Estimate(**corrected._asdict(), num_samples=rate.num_samples)


def _refusals(make: partial[R], pairs: Sequence[Pair], judge: JudgeName) -> R:
    base = Counter(_label(pair.base, judge) for pair in pairs)
    tuned = Counter(_label(pair.tuned, judge) for pair in pairs)
    counts = _refused_pairs(judged_pairs(pairs, judge), judge)
    return make(
        base=_label_counts(base),
        tuned=_label_counts(tuned),
        base_rate=_refusal_rate(base),
        tuned_rate=_refusal_rate(tuned),
        difference=difference_of_rates(counts) if counts.num_pairs else None,
        num_lost=counts.only_base,
        num_gained=counts.only_tuned,
        num_unpaired=len(pairs) - counts.num_pairs,
    )


def _disagreement(pairs: Sequence[Pair], one: JudgeName, other: JudgeName) -> Disagreement:
    verdicts = [verdict for pair in pairs for verdict in (pair.base, pair.tuned)]
    both = [verdict for verdict in verdicts if _label(verdict, one) and _label(verdict, other)]
    counts = count_pairs([_is_refusal(verdict, one) for verdict in both], [_is_refusal(v, other) for v in both])
    return Disagreement(
        judges=(one, other),
        num_answers=counts.num_pairs,
        num_different=counts.only_base + counts.only_tuned,
        kappa=cohen_kappa(counts),
    )


def _refused_pairs(pairs: Sequence[Pair], judge: JudgeName) -> PairedCounts:
    return count_pairs(
        [_is_refusal(pair.base, judge) for pair in pairs], [_is_refusal(pair.tuned, judge) for pair in pairs]
    )


def _label_counts(labels: Counter[Label | None]) -> LabelCounts:
    return LabelCounts(unjudged=labels[None], **{label.value: labels[label] for label in Label})


def _refusal_rate(labels: Counter[Label | None]) -> Estimate | None:
    judged = labels.total() - labels[None]
    return share_estimate(sum(labels[label] for label in Label if label.is_refusal), judged) if judged else None


def _label(verdict: Verdict, judge: JudgeName) -> Label | None:
    return verdict.judgements[judge].label


def _is_refusal(verdict: Verdict, judge: JudgeName) -> bool:
    label = _label(verdict, judge)
    return label is not None and label.is_refusal
