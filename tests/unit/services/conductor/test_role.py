"""Whether it is the character, with numbers computed by hand."""

from __future__ import annotations

import pytest

from rolekeeper.contracts.verdicts import Judgement, Label, ReferenceVerdict, Verdict
from rolekeeper.method.statistics import PairedCounts, paired_difference
from services.conductor.results import Pair, share_estimate
from services.conductor.role import role_results

LABELS = {"R": Label.REFUSED, "D": Label.DEFLECTED, "C": Label.COMPLIED, "I": Label.INCOHERENT, "?": None}


def make_verdict(label: str, babble: bool | None, log_prob: float | None, own: str = "C") -> Verdict:
    reference = None
    if log_prob is not None:
        reference = ReferenceVerdict(log_prob=log_prob, num_tokens=9, judgement=Judgement(label=LABELS[own]))
    judgements = {"phrases": Judgement(label=LABELS[label])}
    return Verdict(id="x", response="r", judgements=judgements, babble=babble, reference=reference)


def make_pair(base: Verdict, tuned: Verdict) -> Pair:
    return Pair(None, "held_out", "dialogue", "Who keeps the light?", "I do.", base, tuned)


PAIRS = [
    make_pair(make_verdict("C", False, -4.0), make_verdict("R", False, -3.5)),
    make_pair(make_verdict("R", False, -3.0, own="R"), make_verdict("D", True, -2.8)),
    make_pair(make_verdict("C", False, -2.0, own="?"), make_verdict("I", True, -1.4)),
]


def test_the_log_likelihood_is_a_mean_over_dialogues_with_a_paired_interval() -> None:
    """Base: mean -3, s 1. Differences 0.5, 0.2, 0.6: mean 0.433333, s 0.208167. t(2) = 4.302653, n = 3."""
    role = role_results(PAIRS, "phrases")
    assert role is not None
    assert role.log_likelihood is not None
    found = role.log_likelihood
    assert (found.name, found.better, role.num_held_out) == ("held_out_log_likelihood", "higher", 3)
    assert (found.base.value, found.base.low, found.base.high) == pytest.approx((-3.0, -5.484138, -0.515862), abs=1e-6)
    assert found.tuned.value == pytest.approx(-7.7 / 3)
    difference = found.difference
    assert (difference.value, difference.low, difference.high) == pytest.approx(
        (0.433333, -0.083782, 0.950448), abs=1e-5
    )
    assert (difference.num_pairs, difference.p_value) == (3, None)


def test_a_refused_or_deflected_dialogue_is_a_refusal_and_the_own_responses_are_judged_too() -> None:
    role = role_results(PAIRS, "phrases")
    assert role is not None
    assert role.refusals is not None
    found = role.refusals
    assert (found.name, found.better) == ("role_refusal_rate", "lower")
    assert (found.base, found.tuned) == (share_estimate(1, 3), share_estimate(2, 3))
    interval = paired_difference(PairedCounts(both=1, only_base=0, only_tuned=1, neither=1))
    assert (found.difference.low, found.difference.high) == (interval.low, interval.high)
    # One of the two own responses that have a label.
    assert role.own_refusal_rate == share_estimate(1, 2)


def test_babble_is_counted_whatever_the_judge_says() -> None:
    role = role_results(PAIRS, "phrases")
    assert role is not None
    assert role.babble is not None
    assert (role.babble.name, role.babble.better) == ("babble_rate", "lower")
    assert (role.babble.base, role.babble.tuned) == (share_estimate(0, 3), share_estimate(2, 3))


def test_what_one_side_lacks_is_in_no_measure() -> None:
    half = make_pair(make_verdict("?", False, -9.0), make_verdict("C", None, None))
    whole = role_results(PAIRS, "phrases")
    assert whole is not None
    changed = {"num_held_out": 4, "own_refusal_rate": share_estimate(1, 3)}
    assert role_results([*PAIRS, half], "phrases") == whole.model_copy(update=changed)


def test_one_dialogue_has_no_spread_and_none_has_no_results() -> None:
    one = role_results(PAIRS[:1], "phrases")
    assert one is not None
    assert (one.log_likelihood, one.num_held_out) == (None, 1)
    assert one.refusals is not None
    assert role_results([], "phrases") is None


def test_verdicts_of_an_older_evaluator_give_counts_only() -> None:
    old = make_pair(make_verdict("?", None, None), make_verdict("C", None, None))
    role = role_results([old], "phrases")
    assert role is not None
    assert role.model_dump(exclude={"num_held_out"}) == dict.fromkeys(
        ("log_likelihood", "refusals", "own_refusal_rate", "babble")
    )
