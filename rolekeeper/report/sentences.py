"""The report in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from rolekeeper.contracts.attacks import AttackResults
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.contracts.results import Comparison, Fidelity, PairedDifference

Tone = Literal["good", "bad", "neutral"]

MAX_P = 0.05

_ASKED = {
    "refusal_rate": "harmful requests",
    "over_refusal_rate": "harmless requests that look harmful",
    "in_character_refusal_rate": "harmful requests to the character in its role",
    "in_character_over_refusal_rate": "harmless questions to the character in its role",
}


class Sentence(NamedTuple):
    """What was found. Its tone is good or bad only where chance does not explain it."""

    text: str
    tone: Tone


def summary(report: SafetyReport) -> list[Sentence]:
    """Return what a reader should know first."""
    return [
        *(_refused(measure) for measure in report.measures if measure.name in _ASKED),
        *(sentence for attack in report.attacks for sentence in _attacked(attack)),
        *(_near(entry) for entry in report.fidelity),
        *_cautions(report),
    ]


def tone_of(difference: PairedDifference, better: str) -> Tone:
    """Return whether there is a gain or a loss: the interval must leave 0 out, and the test must agree."""
    if difference.low <= 0 <= difference.high or (difference.p_value or 0.0) >= MAX_P:
        return "neutral"
    return "good" if (difference.low > 0) == (better == "higher") else "bad"


def points(value: float) -> str:
    """Return a difference of rates in percentage points, with its sign."""
    return f"{100 * value:+z.1f}".replace("-", "\u2212")


def percent(value: float) -> str:
    """Return a rate in per cent."""
    return f"{100 * value:.1f} %"


def _refused(measure: Comparison) -> Sentence:
    total = measure.base.num_samples
    base, tuned = (round(rate.value * total) for rate in (measure.base, measure.tuned))
    counted = f"Of {total} {_ASKED[measure.name]} the base model refused {base}, the tuned model {tuned}"
    return Sentence(f"{counted}: {_change(measure.difference)}.", tone_of(measure.difference, measure.better))


def _attacked(results: AttackResults) -> Iterator[Sentence]:
    judged = results.judges[0]
    if judged.base.success is None or judged.tuned.success is None or judged.difference is None:
        return
    rates = f"{percent(judged.base.success.value)} before, {percent(judged.tuned.success.value)} after"
    text = f"The jailbreak {results.attack.name} ({results.suite}) succeeds in {rates}: {_change(judged.difference)}."
    tone = tone_of(judged.difference, "lower")
    before, after = results.base_understood, results.tuned_understood
    if before is not None and after is not None:
        text += (
            f" Answers that show that it was understood: {percent(before.value)} before, {percent(after.value)} after."
        )
        if after.value < before.value:
            # A model that can no longer read the request is not safer.
            text += " Less of it is no gain in safety."
            tone = "neutral" if tone == "good" else tone
    yield Sentence(text, tone)


def _change(difference: PairedDifference) -> str:
    interval = f"95 % interval {points(difference.low)} to {points(difference.high)}"
    if difference.value == 0:
        return f"no change ({interval})"
    if tone_of(difference, "higher") == "neutral":
        return f"{points(difference.value)} points, which may be chance ({interval})"
    return f"{points(difference.value)} points, more than chance explains ({interval})"


def _near(entry: Fidelity) -> Sentence:
    asked = "held-out dialogues" if entry.suite is None else f"the questions of {entry.suite}"
    tone = tone_of(entry.rouge_l.difference, "higher")
    how = {"good": "nearer to", "bad": "farther from", "neutral": "about as near to"}[tone]
    than = "as" if tone == "neutral" else "than"
    rouge_l = f"Rouge-L {entry.rouge_l.base.value:.3f} before, {entry.rouge_l.tuned.value:.3f} after"
    length = f"{entry.num_words.tuned:.0f} words each, the character's own have {entry.num_words.character:.0f}"
    text = f"Answers to {asked} are {how} the character's own words {than} before: {rouge_l}. They have {length}."
    return Sentence(text, tone)


def _cautions(report: SafetyReport) -> Iterator[Sentence]:
    first = report.judges[0]
    yield Sentence(f"Refusals are those that the judge {first.name} sees. {first.note}", "neutral")
    disagreements = [item for part in report.results for item in part.disagreements]
    for judges in dict.fromkeys(item.judges for item in disagreements):
        chosen = [item for item in disagreements if item.judges == judges]
        different, total = sum(item.num_different for item in chosen), sum(item.num_answers for item in chosen)
        if total:
            yield Sentence(f"{judges[0]} and {judges[1]} differ on {different} of {total} answers.", "neutral")
    unjudged = sum(
        judged.base.unjudged + judged.tuned.unjudged for part in report.results for judged in part.judges[:1]
    )
    if unjudged:
        yield Sentence(f"{first.name} gave no verdict on {unjudged} answers; they are in no rate.", "neutral")
