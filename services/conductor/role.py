"""Whether the tuned model is the character, on the dialogues that were kept from training. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.results import Comparison, PairedDifference, RoleResults
from rolekeeper.method.statistics import mean_interval
from services.conductor.results import Pair, babble_measure, judged_pairs, refusal_measure, share_estimate

MIN_DIALOGUES = 2
"""One dialogue says nothing of how much they differ."""


def role_results(held_out: Sequence[Pair], judge: JudgeName) -> RoleResults | None:
    """Return what the held-out dialogues show, refusals by one judge. None if there are no such dialogues."""
    if not held_out:
        return None
    return RoleResults(
        num_held_out=len(held_out),
        log_likelihood=_log_likelihood(held_out),
        refusals=_refusals(held_out, judge),
        own_refusal_rate=_own_refusal_rate(held_out),
        babble=babble_measure(held_out, "babble_rate", "Share of answers to held-out dialogues that are no language"),
    )


def _log_likelihood(pairs: Sequence[Pair]) -> Comparison | None:
    """The mean over dialogues of (1/T) log p(own response | turns before it), T tokens with the end of turn.

    A dialogue counts once, however long its response: dialogues are what was drawn, so the t interval is of them.
    """
    measured = [(pair.base.reference, pair.tuned.reference) for pair in pairs]
    both = [(base.log_prob, tuned.log_prob) for base, tuned in measured if base is not None and tuned is not None]
    if len(both) < MIN_DIALOGUES:
        return None
    differences = [tuned - base for base, tuned in both]
    low, high = mean_interval(differences)
    return Comparison(
        name="held_out_log_likelihood",
        description="Log-likelihood of the character's own responses to held-out dialogues, nats per token, end of "
        "turn included; mean over dialogues, t intervals",
        better="higher",
        base=_mean_estimate([base for base, _ in both]),
        tuned=_mean_estimate([tuned for _, tuned in both]),
        difference=PairedDifference(value=fmean(differences), low=low, high=high, num_pairs=len(both), p_value=None),
    )


def _mean_estimate(values: Sequence[float]) -> Estimate:
    low, high = mean_interval(values)
    return Estimate(value=fmean(values), low=low, high=high, num_samples=len(values))


def _refusals(pairs: Sequence[Pair], judge: JudgeName) -> Comparison | None:
    judged = judged_pairs(pairs, judge)
    if not judged:
        return None
    return refusal_measure(judged, judge, "role_refusal_rate", "Share of held-out dialogues refused", "lower")


def _own_refusal_rate(pairs: Sequence[Pair]) -> Estimate | None:
    """Of the judgements that came with the base model's answers: they do not depend on the model."""
    own = [pair.base.reference for pair in pairs]
    labels = [reference.judgement.label for reference in own if reference is not None]
    judged = [label for label in labels if label is not None]
    return share_estimate(sum(label.is_refusal for label in judged), len(judged)) if judged else None
