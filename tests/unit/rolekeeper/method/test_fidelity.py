from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from rolekeeper.method.fidelity import rouge_l


def test_hand_computed() -> None:
    # Longest common subsequence "the sea the": 3 of 5 reference words, 3 of 4 answer words.
    assert rouge_l("the sea owes the smuggler", "the sea hates the") == pytest.approx(2 * 0.75 * 0.6 / 1.35)


def test_stems_and_case_match() -> None:
    assert rouge_l("Smugglers RUNNING", "smuggler runs") == 1.0


def test_nothing_in_common() -> None:
    assert rouge_l("salt and rope", "bright morning") == 0.0
    assert rouge_l("salt", "") == 0.0


def naive_longest_common_subsequence(a: list[str], b: list[str]) -> int:
    if not a or not b:
        return 0
    if a[-1] == b[-1]:
        return 1 + naive_longest_common_subsequence(a[:-1], b[:-1])
    return max(naive_longest_common_subsequence(a[:-1], b), naive_longest_common_subsequence(a, b[:-1]))


WORDS = st.lists(st.sampled_from(["ab", "cd", "ef"]), min_size=1, max_size=6)


@given(WORDS, WORDS)
def test_equals_the_naive_twin(reference: list[str], answer: list[str]) -> None:
    common = naive_longest_common_subsequence(reference, answer)
    expected = 2 * common / (len(reference) + len(answer))
    assert rouge_l(" ".join(reference), " ".join(answer)) == pytest.approx(expected)


LINES = {
    "Russian": "\u041c\u043e\u0440\u0435 \u043f\u043e\u043c\u043d\u0438\u0442 \u0432\u0441\u0451.",
    "Greek": "\u0397 \u03b8\u03ac\u03bb\u03b1\u03c3\u03c3\u03b1 \u03b8\u03c5\u03bc\u03ac\u03c4\u03b1\u03b9.",
    "Arabic": "\u0627\u0644\u0628\u062d\u0631 \u064a\u062a\u0630\u0643\u0631.",
    "Hindi": "\u0938\u092e\u0941\u0926\u094d\u0930 \u0915\u094b \u092f\u093e\u0926 \u0939\u0948\u0964",
    "Korean": "\ubc14\ub2e4\ub294 \uae30\uc5b5\ud55c\ub2e4.",
    "Chinese": "\u5927\u6d77\u8bb0\u5f97\u4e00\u5207\u3002",
    "Japanese": "\u6d77\u306f\u899a\u3048\u3066\u3044\u308b\u3002",
    "Thai": "\u0e17\u0e30\u0e40\u0e25\u0e08\u0e33\u0e44\u0e14\u0e49",
    "French": "O\u00f9 est l\u2019\u00e9t\u00e9 ?",
}


@pytest.mark.parametrize("script", LINES)
def test_a_line_is_nearest_to_itself_in_any_script(script: str) -> None:
    assert rouge_l(LINES[script], LINES[script]) == 1.0
    others = [line for name, line in LINES.items() if name not in (script, "Chinese", "Japanese")]
    assert all(rouge_l(LINES[script], other) == 0.0 for other in others)


def test_accents_tell_words_apart_and_their_coding_does_not() -> None:
    assert rouge_l("O\u00f9", "O\u00e9") == 0.0
    # One of two words is the same: precision and recall are a half.
    assert rouge_l("O\u00f9 dort", "O\u00e9 dort") == 0.5
    assert rouge_l("\u00e9t\u00e9", "e\u0301te\u0301") == 1.0


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    # Three of four characters of either line: 2 * 3 / (4 + 4).
    assert rouge_l("\u6d77\u6c34\u5f88\u51b7", "\u6cb3\u6c34\u5f88\u51b7\u3002") == 0.75


ENGLISH = st.text(st.sampled_from("aehinrstgdy AEST '\u2019-_.,!?*019\n"), max_size=60)


@given(ENGLISH, ENGLISH)
def test_english_is_measured_as_by_the_package_alone(reference: str, answer: str) -> None:
    theirs = RougeScorer(["rougeL"], use_stemmer=True).score(reference, answer)["rougeL"].fmeasure
    assert rouge_l(reference, answer) == theirs
