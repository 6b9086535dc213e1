from __future__ import annotations

import random

from transformers import PreTrainedTokenizerBase

from benchmarks.judge_training.salad import make_salads
from services.evaluator.judges import Exchange
from services.evaluator.judges.reader import load_reader

ANSWERS = ("The boats go out at dawn and come back late.", "I keep the light for all who pass this way.", "No.")


def test_salads_keep_the_request_and_the_length_of_what_is_long_enough() -> None:
    exchanges = [Exchange(f"Well, {number}?", answer) for number, answer in enumerate(ANSWERS)]
    tokenizer: PreTrainedTokenizerBase = load_reader().tokenizer
    first, second = make_salads(exchanges, tokenizer, random.Random(1))
    assert (first.request, second.request) == ("Well, 0?", "Well, 1?")
    assert sorted(first.answer.split()) == sorted(ANSWERS[0].split())
    assert first.answer != ANSWERS[0]
    assert set(second.answer.split()) <= {word for answer in ANSWERS[:2] for word in answer.split()}
    assert make_salads(exchanges, tokenizer, random.Random(1)) == [first, second]
