from __future__ import annotations

import random
from statistics import fmean

import pytest

from benchmarks.scoring.floor import measure_lengths
from benchmarks.scoring.synthetic import (
    MAX_TOKENS,
    Shape,
    Spread,
    draw_lengths,
    draw_references,
    make_workload,
    read_words,
    shapes,
)
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base
from tests.tiny_tokenizers import make_tiny_tokenizer


@pytest.mark.parametrize("spread", [Spread(21, 0.27), Spread(79, 0.25), Spread(31, 0.78)])
def test_lengths_have_the_mean_and_the_spread(spread: Spread) -> None:
    lengths = draw_lengths(spread, 200, random.Random(1))
    assert fmean(lengths) == pytest.approx(spread.mean, rel=0.02)
    assert max(lengths) <= MAX_TOKENS
    assert lengths != sorted(lengths)
    # Of a log-normal, the median is exp(sigma^2 / 2) below the mean.
    assert sorted(lengths)[100] < spread.mean


def test_references_add_up() -> None:
    counts = draw_references(1000, True, random.Random(1))
    assert sum(counts) == 1000
    assert fmean(counts) == pytest.approx(4.2, abs=0.2)
    assert draw_references(5, False, random.Random(1)) == [1] * 5


def test_the_same_seed_gives_the_same_ids() -> None:
    tokenizer = make_tiny_tokenizer()
    shape = Shape(700, 900, Spread(10, 0.3), Spread(10, 0.3))
    assert make_workload(tokenizer, shape, 5) == make_workload(tokenizer, shape, 5)


def test_all_references_share_their_question() -> None:
    shape = Shape(700, 900, Spread(10, 0.3), Spread(10, 0.3), all_references=True)
    workload = make_workload(make_tiny_tokenizer(), shape, 40)
    assert workload.num_samples == 40
    for context in workload.contexts:
        assert len(measure_lengths(context).questions) < 20


def test_words_are_words() -> None:
    words = read_words()
    assert len(words) > 5000
    assert not any(set(word) & set('"{}\\<>|') for word in words)


@pytest.mark.real_model
@pytest.mark.parametrize(("name", "x", "y"), [("spe", 21, 79), ("long", 50, 75)])
def test_prefixes_are_those_of_the_data(name: str, x: int, y: int) -> None:
    tokenizer = load_base(find_entry(load_catalog(), "smollm2-135m"), device="cpu").tokenizer
    (character,) = make_workload(tokenizer, shapes()[name], 100).characters
    role, longer, plain = (measure_lengths(context) for context in character)
    assert role.prefix == pytest.approx(shapes()[name].role, abs=2)
    assert longer.prefix == pytest.approx(shapes()[name].unsafe, abs=3)
    template = 5  # what follows the question: the end of its turn and the assistant's header
    assert fmean(len(s.prompt_ids) - plain.prefix - template for s in character.plain) == pytest.approx(x, abs=1)
    assert fmean(len(s.response_ids) for s in character.role) == pytest.approx(y, abs=1)
