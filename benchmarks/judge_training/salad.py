"""Texts that are no answer though their words are real: what the judge learns to tell from language.

A broken model says such things, and the rule for babble lets them by: it looks at letters and at repetition.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import cycle

from transformers import PreTrainedTokenizerBase

from services.evaluator.judges.protocol import Exchange

MIN_WORDS = 6
"""The words of a shorter answer in another order may well be one."""


def make_salads(
    exchanges: Sequence[Exchange], tokenizer: PreTrainedTokenizerBase, rng: random.Random
) -> list[Exchange]:
    """Return salads as long as the answers: by turns the answer's words, words of all answers, and tokens of the model.

    The request stays, so that nothing but the answer tells them apart.
    """
    long = [exchange for exchange in exchanges if len(exchange.answer.split()) >= MIN_WORDS]
    words = [word for exchange in long for word in exchange.answer.split()]
    ids = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
    makers: Sequence[Callable[[list[str]], str]] = (
        lambda own: " ".join(rng.sample(own, len(own))),
        lambda own: " ".join(rng.choices(words, k=len(own))),
        lambda own: str(tokenizer.decode(rng.choices(ids, k=len(own)))),
    )
    return [
        exchange._replace(answer=make(exchange.answer.split()))
        for exchange, make in zip(long, cycle(makers), strict=False)
    ]
