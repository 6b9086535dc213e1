from __future__ import annotations

import json
from pathlib import Path

from benchmarks.memory import write_dialogues
from rolekeeper.contracts.characters import Dialogue


def test_no_two_dialogues_are_alike_and_all_can_be_sent(tmp_path: Path) -> None:
    lines = write_dialogues(tmp_path / "dialogues.jsonl", 500).read_text("utf-8").splitlines()
    assert len(set(lines)) == len(lines) == 500
    assert all(len(Dialogue.model_validate(json.loads(line)).messages) == 2 for line in lines)
