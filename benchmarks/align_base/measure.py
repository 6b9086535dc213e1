"""Refusal rates of a model on the recipe's suites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from transformers import PreTrainedModel

from benchmarks.align_base.answers import Progress, answer_requests
from benchmarks.align_base.data import Suite
from rolekeeper.lm.encode import Encoder
from rolekeeper.method.refusal import is_refusal
from rolekeeper.method.statistics import wilson_interval

MAX_ANSWER_TOKENS = 40


class Rate(NamedTuple):
    """Refusals of one model on one suite, with the 95 % Wilson interval."""

    refused: int
    total: int
    rate: float
    low: float
    high: float


def measure_refusals(
    model: PreTrainedModel, encoder: Encoder, suites: Sequence[Suite], progress: Progress
) -> dict[str, Rate]:
    """Answers every suite greedily and counts refusals by phrases. Keys are the names of the suites."""
    requests = [request for suite in suites for request in suite.requests]
    answers = iter(answer_requests(model, encoder, requests, MAX_ANSWER_TOKENS, progress))
    return {suite.name: rate_of([next(answers) for _ in suite.requests]) for suite in suites}


def rate_of(answers: Sequence[str]) -> Rate:
    """The refusal rate of some answers."""
    refused, total = sum(map(is_refusal, answers)), len(answers)
    interval = wilson_interval(refused, total)
    return Rate(refused, total, *(round(figure, 4) for figure in (refused / total, interval.low, interval.high)))
