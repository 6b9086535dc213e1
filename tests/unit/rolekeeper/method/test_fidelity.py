from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
