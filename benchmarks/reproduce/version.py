"""What the numbers of a cell depend on beside its settings: the code that scores, trains and answers."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

from services.evaluator.software import software_versions

ROOT = Path(__file__).parents[2]
FOLDERS = ("rolekeeper/lm", "rolekeeper/method", "services/scorer", "services/trainer/program", "services/evaluator")
# Base models and judges have digests of their own, and suites are in the settings.
LEFT_OUT = (
    "rolekeeper/lm/weights",
    "rolekeeper/lm/models.toml",
    "services/evaluator/judges",
    "services/evaluator/suites",
)


def code_version() -> str:
    """Return a short digest of the code as it is parsed, of the files that it reads, and of the packages' versions."""
    digest = hashlib.sha256()
    for path in sorted(_files(ROOT / folder for folder in FOLDERS)):
        digest.update(f"{path.relative_to(ROOT)} {_content(path)}\n".encode())
    digest.update(repr(sorted(software_versions().items())).encode())
    return digest.hexdigest()[:12]


def _files(folders: Iterable[Path]) -> Iterable[Path]:
    for folder in folders:
        for path in folder.rglob("*"):
            is_left_out = str(path.relative_to(ROOT)).startswith(LEFT_OUT)
            if path.is_file() and "__pycache__" not in path.parts and not is_left_out:
                yield path


def _content(path: Path) -> str:
    """Comments and the way that code is set change nothing."""
    data = path.read_bytes()
    if path.suffix == ".py":
        data = ast.dump(ast.parse(data)).encode()
    return hashlib.sha256(data).hexdigest()
