"""The rule that finds babble."""

from __future__ import annotations

import pytest

from benchmarks.judge_training.written import read_voices
from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges.coherence import distinct_share, is_incoherent, is_latin


def test_runs_of_three_words_are_counted() -> None:
    # abc bca cab abc: three of four are distinct.
    assert distinct_share(list("abcabc")) == 0.75
    assert distinct_share(["no"]) == 1.0


@pytest.mark.parametrize("text", ["", "...", "12 34 56", "xkq zzt wrvb pltk", "no " * 30])
def test_babble_is_found(text: str) -> None:
    assert is_incoherent(text)


@pytest.mark.parametrize(
    "text", ["No.", "Hmm, Mr. Smith.", "Tra la la, tra la la!", "Ha ha ha ha ha!", "Ça va, Łukasz?"]
)
def test_short_and_odd_answers_are_language(text: str) -> None:
    assert not is_incoherent(text)


def test_what_was_written_as_language_is_language_and_what_was_written_as_babble_is_not() -> None:
    examples = [example.labelled for part in ("seen", "unseen") for example in read_voices(part)]
    wrong = [item for item in examples if is_incoherent(item.exchange.answer) != (item.label is Label.INCOHERENT)]
    assert wrong == []


def test_scripts_are_told_apart() -> None:
    assert is_latin("Não, my friend. 42!")
    assert is_latin("42")
    assert not is_latin("Я не буду помогать, sorry")
