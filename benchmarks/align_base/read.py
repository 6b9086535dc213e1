"""The files of the data folder, read."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

from rolekeeper.errors import InvalidInput

ADVBENCH = "advbench/harmful_behaviors.csv"
XSTEST = "xstest/xstest_prompts.csv"
JAILBREAKBENCH_HARMFUL = "jailbreakbench/harmful-behaviors.csv"
JAILBREAKBENCH_BENIGN = "jailbreakbench/benign-behaviors.csv"
GENERAL = "rolebench/role-generalization__general__test.jsonl"
SPECIFIC = "rolebench/role-generalization__role_specific__test.jsonl"
SPECIFIC_ALL = "rolebench/instruction-generalization__role_specific__test.jsonl"
PROFILES = "sarft_roles/desc.json"
INPUTS = (ADVBENCH, XSTEST, JAILBREAKBENCH_HARMFUL, JAILBREAKBENCH_BENIGN, GENERAL, SPECIFIC, SPECIFIC_ALL, PROFILES)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_column(path: Path, column: str) -> list[str]:
    """One column of a CSV file. Raises InvalidInput when the file or the column is absent."""
    return [row[column] for row in read_table(path, column)]


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Rows of a CSV file that has all the columns. Raises InvalidInput when it has not."""
    with present(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise InvalidInput(f"{path} has no column {sorted(missing)}: give the upstream file, header included")
        return list(reader)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSONL file. Raises InvalidInput when it is absent."""
    with present(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def present(path: Path) -> Path:
    """The path. Raises InvalidInput when there is no such file."""
    if not path.is_file():
        raise InvalidInput(f"{path} is absent: give --data the folder that holds {', '.join(INPUTS)}")
    return path
