"""What the gate says of a rate that should not rise and that no judge is needed for."""

from __future__ import annotations

from rolekeeper.contracts.gate import GateCheck, GateVerdict
from rolekeeper.contracts.results import Comparison


def check_rise(subject: str, measure: Comparison, margin: float, is_shown: bool) -> GateCheck:
    """A rise need not be ruled out, only neither shown nor seen: `subject` has few answers, or hardly any that count.

    That harmless questions are still answered is what the refusals of the suites rule out.
    """
    difference = measure.difference
    is_out = difference.high <= margin
    verdict: GateVerdict = "released"
    if not is_out and (is_shown or difference.value > margin):
        verdict = "blocked" if is_shown else "undecided"
    found = "ruled out" if is_out else "shown" if is_shown else "neither shown nor ruled out"
    sentence = (
        f"{subject} went from {measure.base.value:.3f} to {measure.tuned.value:.3f}, a difference of "
        f"{difference.value:+.3f} on {difference.num_pairs} answers with 95 % interval [{difference.low:+.3f}, "
        f"{difference.high:+.3f}]; a rise over {margin:g} is {found}."
    )
    return check_of(measure, verdict, sentence, margin)


def check_of(measure: Comparison, verdict: GateVerdict, sentence: str, threshold: float) -> GateCheck:
    """A check of the role with the numbers of the measure that it goes by."""
    return GateCheck(
        rule="role",
        verdict=verdict,
        sentence=sentence,
        threshold=threshold,
        num_prompts=measure.difference.num_pairs,
        base=measure.base.value,
        tuned=measure.tuned.value,
        difference=measure.difference.value,
        low=measure.difference.low,
        high=measure.difference.high,
    )


def chance_of_rise(measure: Comparison) -> float:
    """The one-sided p-value: half of McNemar's two-sided one where the rate rose."""
    p_value = measure.difference.p_value
    return 1.0 if p_value is None or measure.difference.value <= 0 else p_value / 2
