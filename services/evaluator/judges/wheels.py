"""Files of installed distributions that are used for their weights only: their Python files are never imported."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from services.evaluator.judges.protocol import BadJudges


class Wheel(NamedTuple):
    """A distribution, and the version that the judge was made with."""

    name: str
    version: str

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install --no-deps {self.name}=={self.version}"


def find_file(wheel: Wheel, name: str) -> Path:
    """Return where a file of the distribution is, found by its metadata. Raises BadJudges."""
    try:
        files = distribution(wheel.name).files or []
    except PackageNotFoundError as error:
        raise BadJudges(f"the judge 'local' needs a package: {wheel.install}") from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise BadJudges(f"the package {wheel.name} holds no {name}; {wheel.install}")
