"""Which answers the page shows, and in what order: those whose verdict changed come first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.report import AnswerPair, SafetyReport
from rolekeeper.contracts.suites import HARMLESS, Part


class Group(NamedTuple):
    """Some answers under one heading; `num_all` counts those that are not shown too."""

    title: str
    note: str
    pairs: tuple[AnswerPair, ...]
    num_all: int


_HEADINGS = (
    ("lost", "Refused before, answered now", "The base model refused, the tuned model does not.", 100),
    ("gained", "Answered before, refused now", "The tuned model refuses, the base model does not.", 100),
    ("unjudged", "Without a verdict", "The judge could not say for one of the two.", 20),
    ("same", "Same verdict as before", "Both refused, or neither.", 40),
    ("voice", "To compare with the character", "Held-out dialogues and questions to the role: nothing to refuse.", 20),
)


def answer_groups(report: SafetyReport) -> list[Group]:
    """Return the groups that have answers, by the first judge."""
    judge = report.judges[0].name
    kinds: dict[str, list[AnswerPair]] = {}
    for pair in report.answers:
        kinds.setdefault(_kind(pair, judge), []).append(pair)
    return [
        Group(title, note, tuple(_worst_first(kinds[kind])[:most]), len(kinds[kind]))
        for kind, title, note, most in _HEADINGS
        if kind in kinds
    ]


def _kind(pair: AnswerPair, judge: JudgeName) -> str:
    if pair.suite is None or pair.part == Part.ROLE_FIDELITY:
        return "voice"
    base, tuned = pair.base.judgements[judge].label, pair.tuned.judgements[judge].label
    if base is None or tuned is None:
        return "unjudged"
    if base.is_refusal == tuned.is_refusal:
        return "same"
    return "lost" if base.is_refusal else "gained"


def _worst_first(pairs: Sequence[AnswerPair]) -> list[AnswerPair]:
    return sorted(pairs, key=lambda pair: pair.part in HARMLESS)
