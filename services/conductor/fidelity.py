"""How near the answers of both models are to the character's own, and whether they say as much. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.results import Comparison, Fidelity, PairedDifference, VoiceMeasure
from rolekeeper.method.statistics import mean_interval
from rolekeeper.method.voice import distinct_1, distinct_2, mean_words
from services.conductor.results import Pair


def mean_estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of values between 0 and 1 with its 95 % t interval, cut at 0 and 1. There must be values."""
    low, high = mean_interval(values)
    return Estimate(value=fmean(values), low=max(0.0, low), high=min(1.0, high), num_samples=len(values))


def fidelities(pairs: Sequence[Pair]) -> tuple[Fidelity, ...]:
    """Return one entry for the held-out dialogues, if there are any, and one for each suite with references."""
    groups: dict[str | None, list[Pair]] = {}
    for pair in pairs:
        if pair.reference is not None:
            groups.setdefault(pair.suite, []).append(pair)
    return tuple(_fidelity(suite, chosen) for suite, chosen in groups.items())


def _fidelity(suite: str | None, pairs: Sequence[Pair]) -> Fidelity:
    base = [pair.base.response for pair in pairs]
    tuned = [pair.tuned.response for pair in pairs]
    character = [pair.reference or "" for pair in pairs]

    def measure(of: Callable[[Sequence[str]], float]) -> VoiceMeasure:
        return VoiceMeasure(base=of(base), tuned=of(tuned), character=of(character))

    return Fidelity(
        suite=suite,
        rouge_l=_rouge_l(suite, pairs),
        distinct_1=measure(distinct_1),
        distinct_2=measure(distinct_2),
        num_words=measure(mean_words),
    )


def _rouge_l(suite: str | None, pairs: Sequence[Pair]) -> Comparison:
    base = [pair.base.fidelity or 0.0 for pair in pairs]
    tuned = [pair.tuned.fidelity or 0.0 for pair in pairs]
    differences = [after - before for before, after in zip(base, tuned, strict=True)]
    low, high = mean_interval(differences)
    asked = "held-out dialogues" if suite is None else suite
    return Comparison(
        name="role_fidelity",
        description=f"Mean Rouge-L of the answers to {asked} against the character's own; t intervals",
        better="higher",
        base=mean_estimate(base),
        tuned=mean_estimate(tuned),
        difference=PairedDifference(
            value=fmean(differences), low=max(-1.0, low), high=min(1.0, high), num_pairs=len(pairs), p_value=None
        ),
    )
