"""The measured error of the judges that come with Rolekeeper. `python -m benchmarks.judge_training` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from rolekeeper.contracts.evaluation import JudgeName
from rolekeeper.contracts.verdicts import Calibration

FILE = Path(__file__).parent / "weights" / "measured.json"

MEASURED = TypeAdapter(Mapping[JudgeName, tuple[Calibration, ...]])


def read_calibrations(name: JudgeName) -> tuple[Calibration, ...]:
    """Return what was measured of a judge, by labelled data."""
    return MEASURED.validate_json(FILE.read_bytes()).get(name, ())
