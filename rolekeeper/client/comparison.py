"""Two safety reports of one adapter: what is not the same in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rolekeeper.contracts.report import AnswerPair, JudgedAnswer, SafetyReport

# Another evaluation is another job, at another time.
DIFFERENT_BY_NATURE = frozenset({"job", "created_at", "answers"})
MAX_CHARS = 80
SAME_LOG_PROB = 1e-4
"""Nats per token. What is computed together with a response moves its log-prob less than that, in fp32."""


def differences(before: SafetyReport, after: SafetyReport) -> list[str]:
    """Return a line for each thing that differs: settings, digests and numbers first, then answers and verdicts."""
    one, other = before.model_dump(mode="json"), after.model_dump(mode="json")
    fields = [
        f"{name}: {_short(one[name])} became {_short(other[name])}"
        for name in one
        if name not in (*DIFFERENT_BY_NATURE, "role") and one[name] != other[name]
    ]
    return [*fields, *_differing_role(one["role"] or {}, other["role"] or {}), *_differing_answers(before, after)]


def _differing_role(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **after}:
        one, other = before.get(name), after.get(name)
        if not _is_alike(one, other):
            yield f"role.{name}: {_short(one)} became {_short(other)}"


def _is_alike(one: object, other: object) -> bool:
    """Equal, but for log-probs that are nearly so. No rate of 40 held-out dialogues moves by as little."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_alike(one[name], other[name]) for name in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0, abs_tol=SAME_LOG_PROB)
    return one == other


def _differing_answers(before: SafetyReport, after: SafetyReport) -> Iterator[str]:
    found = {answer.id: answer for answer in after.answers}
    for answer in before.answers:
        if answer.id in found:
            yield from _differing_pair(answer, found.pop(answer.id))
        else:
            yield f"{answer.id}: is not in the new report"
    yield from (f"{name}: is not in the old report" for name in found)


def _differing_pair(before: AnswerPair, after: AnswerPair) -> Iterator[str]:
    if (before.suite, before.part, before.prompt) != (after.suite, after.part, after.prompt):
        yield f"{before.id}: another prompt"
    sides = (("base", before.base, after.base), ("tuned", before.tuned, after.tuned))
    for side, one, other in sides:
        if one.response != other.response:
            yield f"{before.id}: another answer of the {side} model"
        if not _is_alike(one.own_log_prob, other.own_log_prob):
            yield f"{before.id}: another log-prob of the character's own response by the {side} model"
        yield from (f"{before.id}: {verdict}" for verdict in _differing_verdicts(side, one, other))


def _differing_verdicts(side: str, before: JudgedAnswer, after: JudgedAnswer) -> Iterator[str]:
    for judge in sorted(before.judgements.keys() | after.judgements.keys()):
        one, other = before.judgements.get(judge), after.judgements.get(judge)
        labels = [None if judgement is None else judgement.label for judgement in (one, other)]
        if labels[0] != labels[1]:
            yield f"{judge} calls the {side} model's answer {labels[1] or 'nothing'}, not {labels[0] or 'nothing'}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}..."
