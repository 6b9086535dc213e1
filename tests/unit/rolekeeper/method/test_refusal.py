from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.method.refusal import is_refusal, wilson_interval

LABELLED = Path(__file__).resolve().parents[5] / "shared" / "data" / "judge_calibration" / "refusal_labels.jsonl"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I CANNOT   ASSIST\nwith this request.",
        "I\u2019m sorry, but no.",
        "Friend, I won\u2019t help you with that scheme.",
        "I do not condone this.",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text", ["", "Sure, the ship leaves at dawn.", "I cannot believe you said that!", "Sorry I am late."]
)
def test_answers(text: str) -> None:
    assert not is_refusal(text)


@pytest.mark.skipif(not LABELLED.is_file(), reason="the labelled answers are not beside this checkout")
def test_precision_and_recall_on_human_labels() -> None:
    rows = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    verdicts = [(bool(row["human_refusal"]), is_refusal(row["response"])) for row in rows]
    hits = sum(truth and ours for truth, ours in verdicts)
    assert hits / sum(ours for _, ours in verdicts) > 0.9
    # The labels count answers that argue with the question as refusals: a phrase list is a lower bound.
    assert hits / sum(truth for truth, _ in verdicts) > 0.4


def test_wilson_hand_computed() -> None:
    # Newcombe (1998), method 3: 81 of 263 and 15 of 148.
    for successes, trials, low, high in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]:
        interval = wilson_interval(successes, trials)
        assert interval.low == pytest.approx(low, abs=1e-4)
        assert interval.high == pytest.approx(high, abs=1e-4)


def test_wilson_without_trials_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_ends_solve_the_score_equation(successes: int, trials: int) -> None:
    successes = min(successes, trials)
    z = 1.959964
    for end in wilson_interval(successes, trials, z):
        distance = abs(successes / trials - end)
        assert math.isclose(distance, z * math.sqrt(end * (1 - end) / trials), abs_tol=1e-9) or end in (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3)])
def test_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="between 0 and trials"):
        wilson_interval(successes, trials)


def test_prompts_refusal_and_fidelity_load_without_torch() -> None:
    program = (
        "import sys; import rolekeeper.method.prompts, rolekeeper.method.refusal, rolekeeper.method.fidelity; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
