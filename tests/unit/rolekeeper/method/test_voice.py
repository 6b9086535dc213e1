from __future__ import annotations

import pytest

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
