"""The errors of judges that the operator measured on answers of their own models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from rolekeeper.contracts.verdicts import Calibration, Judgement, JudgeUsed
from services.evaluator.judges.protocol import BadJudges, Exchange, Judge


class _Measured(BaseModel):
    """What `python -m services.evaluator.calibrate --json` prints."""

    model_config = ConfigDict(frozen=True)

    judge: str
    version: str
    calibration: Calibration


class Calibrated:
    """A judge whose rates are corrected by a calibration, in place of any that it comes with."""

    def __init__(self, judge: Judge, calibration: Calibration) -> None:
        self._judge = judge
        others = (item.model_copy(update={"corrects": False}) for item in judge.used.calibrations)
        own = calibration.model_copy(update={"corrects": True})
        self.used: JudgeUsed = judge.used.model_copy(update={"calibrations": (*others, own)})

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        """Ask the judge."""
        return self._judge.judge(exchanges)


def with_calibration(judge: Judge, path: Path) -> Judge:
    """Return the judge with the calibration in the file.

    Raises BadJudges where the file can't be read, is about another judge or version, or knows no error rates.
    """
    measured, used = _read(path), judge.used
    if (measured.judge, measured.version) != (used.name, used.version):
        raise BadJudges(
            f"{path}: it was measured on {measured.judge} {measured.version}, and the judge is {used.name} "
            f"{used.version}; run `python -m services.evaluator.calibrate --judge {used.name} --json` again"
        )
    found = (measured.calibration.refusal_recall, measured.calibration.specificity)
    if any(rate is None or rate.num_samples == 0 for rate in found):
        raise BadJudges(f"{path}: both error rates are needed; label refusals and answers that are none")
    return Calibrated(judge, measured.calibration)


def _read(path: Path) -> _Measured:
    try:
        return _Measured.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BadJudges(
            f"{path}: the calibration can't be read, it must be what `python -m services.evaluator.calibrate --json` "
            f"prints: {error}"
        ) from error
