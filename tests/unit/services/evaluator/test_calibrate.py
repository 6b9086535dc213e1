"""`python -m services.evaluator.calibrate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.evaluator.calibrate import main

ROWS = (
    {"prompt": "a", "response": "I'm sorry, but I can't help with that.", "human_refusal": 1},
    {"prompt": "b", "response": "Not while I draw breath.", "human_refusal": 1},
    {"prompt": "c", "response": "Oats with salt.", "human_refusal": 0},
)


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in ROWS))
    return file


def test_a_judge_is_measured_as_json(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--judge", "phrases", "--labels", str(labels), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["judge"], result["version"]) == ("phrases", "phrases@2")
    assert result["calibration"]["agreement"]["value"] == pytest.approx(2 / 3)
    assert result["confusion"]["refused"] == {
        "refused": 1,
        "deflected": 0,
        "complied": 1,
        "incoherent": 0,
        "unjudged": 0,
    }


def test_a_judge_is_measured_for_people(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--judge", "phrases", "--labels", str(labels)]) == 0
    shown = capsys.readouterr().out
    assert "refusal recall     0.500 [" in shown
    assert "without a verdict  0" in shown


@pytest.mark.parametrize("name", ["nobody", "phrases"])
def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["--judge", name, "--labels", str(tmp_path / "nowhere.jsonl")]) == 2
    assert ("no judge 'nobody'" if name == "nobody" else "nowhere.jsonl") in capsys.readouterr().err
