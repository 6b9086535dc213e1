from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rolekeeper.method.refusal import is_refusal

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


def test_prompts_refusal_and_fidelity_load_without_torch() -> None:
    program = (
        "import sys; import rolekeeper.method.prompts, rolekeeper.method.refusal, rolekeeper.method.fidelity, "
        "rolekeeper.method.statistics; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
