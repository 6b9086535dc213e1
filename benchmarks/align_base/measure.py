"""Refusal rates and losses of a model on the recipe's suites and texts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import PreTrainedModel

from benchmarks.align_base.answers import Progress, answer_requests
from benchmarks.align_base.data import MEASURED_ROLES, Pair, Request, split_general
from benchmarks.align_base.suites import Suite, draw_role_pairs
from rolekeeper.lm.encode import EncodedSample, Encoder, Turn
from rolekeeper.lm.forward import response_logprobs
from rolekeeper.method.refusal import is_refusal
from rolekeeper.method.statistics import wilson_interval

MAX_ANSWER_TOKENS = 40
EXAMPLES = Path(__file__).parents[2] / "examples"


class Rate(NamedTuple):
    """Refusals of one model on one suite, with the 95 % Wilson interval."""

    refused: int
    total: int
    rate: float
    low: float
    high: float


class Texts(NamedTuple):
    """Named responses that no model wrote, and none is trained on, to measure the loss on."""

    name: str
    samples: list[EncodedSample]


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


def draw_texts(data: Path, encoder: Encoder, seed: int) -> list[Texts]:
    """The example's dialogues, plain and under the profile, three characters of RoleBench and general answers."""
    profile = json.loads((EXAMPLES / "character.json").read_text(encoding="utf-8"))["profile"]
    lines = (EXAMPLES / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    dialogues = [[Turn(**message) for message in json.loads(line)["messages"]] for line in lines]
    pairs = draw_role_pairs(data, seed)
    size = len(pairs) // len(MEASURED_ROLES)
    roles = {role: pairs[at * size : (at + 1) * size] for at, role in enumerate(MEASURED_ROLES)}
    return [
        Texts("example", [encoder.encode("", dialogue) for dialogue in dialogues]),
        Texts("example_in_role", [encoder.encode(profile, dialogue) for dialogue in dialogues]),
        *(Texts(role, [encode_pair(encoder, in_plain(pair)) for pair in chosen]) for role, chosen in roles.items()),
        Texts("general", [encode_pair(encoder, pair) for pair in split_general(data, seed).measured]),
    ]


def in_plain(pair: Pair) -> Pair:
    """The pair without its system text."""
    return Pair(Request("", pair.request.user), pair.response)


def encode_pair(encoder: Encoder, pair: Pair) -> EncodedSample:
    """Token ids of a request and its response."""
    return encoder.encode(pair.request.system, [Turn("user", pair.request.user), Turn("assistant", pair.response)])


def measure_losses(model: PreTrainedModel, texts: Sequence[Texts]) -> dict[str, float]:
    """Mean of -log p over the response tokens of each text, in nats."""
    losses = {}
    for name, samples in texts:
        logprobs = response_logprobs(model, samples)
        num_tokens = sum(len(sample) for sample in logprobs)
        losses[name] = round(-math.fsum(sample.sum().item() for sample in logprobs) / num_tokens, 4)
    return losses
