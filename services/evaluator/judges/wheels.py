"""Files of installed distributions that are used for their weights only: their Python files are never imported.

A distribution is named with the version that the judge was made with: `NAME==VERSION`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from services.evaluator.judges.protocol import BadJudges


def name_of(wheel: str) -> str:
    """The name in a requirement: `NAME==VERSION`."""
    return wheel.partition("==")[0]


def install(wheel: str) -> str:
    """The command that installs it."""
    return f"pip install --no-deps {wheel}"


def find_file(wheel: str, name: str) -> Path:
    """Return where a file of the distribution is, found by its metadata. Raises BadJudges."""
    try:
        files = distribution(name_of(wheel)).files or []
    except PackageNotFoundError as error:
        raise BadJudges(f"the judge 'local' needs a package: {install(wheel)}") from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise BadJudges(f"the package {name_of(wheel)} holds no {name}; {install(wheel)}")
