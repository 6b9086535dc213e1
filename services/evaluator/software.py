"""What answers and judges, by version."""

from __future__ import annotations

import platform
from importlib.metadata import version

_PACKAGES = ("rolekeeper", "torch", "transformers", "peft", "rouge-score")


def software_versions() -> dict[str, str]:
    """Return the version of Python and of each package that answers or numbers depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
