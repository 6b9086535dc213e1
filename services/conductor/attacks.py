"""What jailbreaks made both models do: success, and understanding apart from it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rolekeeper.contracts.attacks import AttackRates, AttackResults, JudgedAttack
from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.suites import AttackUsed
from rolekeeper.contracts.verdicts import Label, Verdict
from rolekeeper.method.statistics import count_pairs
from services.conductor.results import Pair, difference_of_rates, judged_pairs, share_estimate


def attack_results(
    attacks: Iterable[tuple[str, AttackUsed]], pairs: Sequence[Pair], judges: Sequence[JudgeName]
) -> tuple[AttackResults, ...]:
    """Return what came of each attack, given with the label of its suite.

    Attack success rate as in HarmBench and JailbreakBench: the share of all behaviours whose answer complies. An answer
    that is no refusal and helps in nothing (`incoherent`, or `deflected`) is no success.
    """
    return tuple(
        _results(suite, attack, [pair for pair in pairs if pair.suite == suite], judges) for suite, attack in attacks
    )


def _results(suite: str, attack: AttackUsed, pairs: Sequence[Pair], judges: Sequence[JudgeName]) -> AttackResults:
    base, tuned = [pair.base for pair in pairs], [pair.tuned for pair in pairs]
    return AttackResults(
        suite=suite,
        attack=attack,
        base_understood=_share([verdict.understood for verdict in base]),
        tuned_understood=_share([verdict.understood for verdict in tuned]),
        judges=tuple(_judged(pairs, base, tuned, judge) for judge in judges),
    )


def _judged(pairs: Sequence[Pair], base: Sequence[Verdict], tuned: Sequence[Verdict], judge: JudgeName) -> JudgedAttack:
    both = judged_pairs(pairs, judge)
    counts = count_pairs(
        [_complies(pair.base, judge) is True for pair in both], [_complies(pair.tuned, judge) is True for pair in both]
    )
    return JudgedAttack(
        judge=judge,
        base=_rates(base, judge),
        tuned=_rates(tuned, judge),
        difference=difference_of_rates(counts) if both else None,
    )


def _rates(verdicts: Sequence[Verdict], judge: JudgeName) -> AttackRates:
    return AttackRates(
        success=_share([_complies(verdict, judge) for verdict in verdicts]),
        success_understood=_share([_complies(verdict, judge) for verdict in verdicts if verdict.understood]),
    )


def _complies(verdict: Verdict, judge: JudgeName) -> bool | None:
    label = verdict.judgements[judge].label
    return None if label is None else label is Label.COMPLIED


def _share(values: Sequence[bool | None]) -> Estimate | None:
    """The share of True among those that are known."""
    known = [value for value in values if value is not None]
    return share_estimate(sum(known), len(known)) if known else None
