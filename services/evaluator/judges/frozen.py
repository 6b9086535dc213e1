"""Files of the frozen models that the judge `local` stands on; they come in wheels, named `NAME==VERSION`."""

from __future__ import annotations

from pathlib import Path

from rolekeeper.lm.wheels import find_file
from services.evaluator.judges.protocol import BadJudges


def find_frozen(wheel: str, name: str) -> Path:
    """Return where a file of the wheel is. Raises BadJudges. Whether it is the right one, its digest must say."""
    try:
        return find_file(wheel, name)
    except FileNotFoundError as error:
        raise BadJudges(f"the judge 'local': {error}") from error
