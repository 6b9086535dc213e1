from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.method.voice import distinct_1, distinct_2, mean_words, words


def test_words_of_any_script() -> None:
    assert words("I don\u2019t KNOW -- na\u00efve! \u5b57 42") == [
        "i",
        "don\u2019t",
        "know",
        "na\u00efve",
        "\u5b57",
        "42",
    ]


def test_marks_belong_to_their_word_and_characters_count_where_nothing_parts_words() -> None:
    assert words("\u0939\u093f\u0928\u094d\u0926\u0940 42") == ["\u0939\u093f\u0928\u094d\u0926\u0940", "42"]
    assert words("\u6d77\u306f2\u3064") == ["\u6d77", "\u306f", "2", "\u3064"]
    assert mean_words(["\u5927\u6d77\u3002"]) == 2


@given(st.text(st.sampled_from("abXY \u00e9\u0436 '\u2019-.,!?*09\n"), max_size=60))
def test_words_of_spaced_scripts_are_those_of_a_pattern(text: str) -> None:
    assert words(text) == re.findall(r"\w+(?:['\u2019]\w+)*", text.lower())


def test_distinct_hand_computed() -> None:
    texts = ["the sea the sea", "The sea."]
    assert distinct_1(texts) == 2 / 6
    # the-sea, sea-the, the-sea; the-sea: 2 of 4.
    assert distinct_2(texts) == 2 / 4


def test_pairs_do_not_span_texts() -> None:
    assert distinct_2(["one", "two"]) == 0.0


@pytest.mark.parametrize("texts", [[], [""], ["...", "!"]])
def test_without_words_nothing_is_distinct(texts: list[str]) -> None:
    assert distinct_1(texts) == 0.0


def test_mean_words() -> None:
    assert mean_words(["one two three", ""]) == 1.5
