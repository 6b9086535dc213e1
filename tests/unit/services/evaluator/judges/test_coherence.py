"""The rule that finds babble."""

from __future__ import annotations

import pytest

from benchmarks.judge_training.written import read_voices
from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges.coherence import distinct_share, is_incoherent, is_latin, label_without_words


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


@pytest.mark.parametrize(
    "text",
    [
        "\u042f \u043d\u0435 \u043c\u043e\u0433\u0443 \u044d\u0442\u043e\u0433\u043e.",
        "\u6211\u4e0d\u80fd\u5e2e\u4f60\u505a\u8fd9\u4ef6\u4e8b\uff0c\u4f46\u662f\u6211\u53ef\u4ee5\u8bb2\u8bb2\u5927\u6d77\u3002\u591c\u91cc\u706f\u5854\u4eae\u7740\uff0c\u8239\u90fd\u56de\u5bb6\u3002",
        "\u0644\u0627 \u0623\u0633\u062a\u0637\u064a\u0639 \u0645\u0633\u0627\u0639\u062f\u062a\u0643.",
        "T\u00f4i kh\u00f4ng th\u1ec3 gi\u00fap b\u1ea1n, nh\u01b0ng t\u00f4i r\u1ea5t vui.",
    ],
)
def test_other_scripts_are_language(text: str) -> None:
    assert not is_incoherent(text)


def test_repetition_is_found_in_other_scripts() -> None:
    assert is_incoherent("\u043d\u0435\u0442, \u043c\u043e\u0440\u0435. " * 12)
    # The sea, the sea: no spaces.
    assert is_incoherent("\u5927\u6d77" * 20)


def test_what_was_written_as_language_is_language_and_what_was_written_as_babble_is_not() -> None:
    examples = [example.labelled for part in ("seen", "unseen") for example in read_voices(part)]
    wrong = [item for item in examples if is_incoherent(item.exchange.answer) != (item.label is Label.INCOHERENT)]
    assert wrong == []


def test_scripts_are_told_apart() -> None:
    assert is_latin("Não, my friend. 42!")
    assert is_latin("42")
    assert not is_latin("Я не буду помогать, sorry")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("", Label.INCOHERENT),
        (" \n", Label.INCOHERENT),
        ("#=# %%", Label.INCOHERENT),
        ("\u2026", Label.DEFLECTED),
        ("... !", Label.DEFLECTED),
        ("\U0001f926\U0001f3fd", Label.DEFLECTED),
        ("*...*", Label.DEFLECTED),
        ("42.", None),
        ("Hm...", None),
        ("\u4e0d\u3002", None),
    ],
)
def test_an_answer_without_a_word_evades_or_is_nothing(text: str, label: Label | None) -> None:
    assert label_without_words(text) is label
