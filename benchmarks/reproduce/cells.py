"""The cells of the study and their lines: one JSON object for each finished cell, appended whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.reproduce.plan import BASE, Plan, Stage, unavailable
from rolekeeper.errors import InvalidInput

Values = Mapping[str, float]


class Cell(NamedTuple):
    """A character, a seed and an arm. The base model's own answers have seed 0."""

    character: str
    seed: int
    arm: str

    @property
    def name(self) -> str:
        """How a command line names it."""
        return f"{self.character}/{self.seed}/{self.arm}"


class Line(BaseModel):
    """What is known of a cell. Verdicts and values are by group of prompts and by prompt; no text is in them.

    `refused` is what each judge says, 1 or 0, the plan's first judge first. Log-likelihoods are nats per response token
    of each held-out dialogue, by context; none where answers are decoded from more than the model's own probabilities.
    Babble and Rouge-L are of the held-out answers, `babble_share` is of all. Seconds are those of the one thread: what
    else the machine does is not in them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    cell: str
    character: str
    seed: int
    arm: str
    settings: str
    base_digest: str
    version: str
    plan: str
    error: str | None = None
    villain: bool = False
    num_training: int = 0
    refused: Mapping[str, Mapping[str, Values]] = {}
    babble: Values = {}
    babble_share: Mapping[str, float] = {}
    rouge_l: Values = {}
    log_likelihood: Mapping[str, Values] | None = None
    flagged_share: float | None = None
    anchored_share: float | None = None
    training: Mapping[str, Any] = {}
    adapter_sha256: str | None = None
    cpu_seconds: Mapping[str, float] = {}
    made_with: Mapping[str, Any] = {}

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What has to be the same for the cell not to be run again."""
        return (self.cell, self.settings, self.base_digest, self.version)


class Only(NamedTuple):
    """Which cells are meant. What is empty leaves nothing out; the base model belongs to all seeds and arms."""

    characters: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    arms: tuple[str, ...] = ()

    def takes(self, cell: Cell) -> bool:
        """Whether a cell is meant."""
        if self.characters and cell.character not in self.characters:
            return False
        is_meant = (not self.seeds or cell.seed in self.seeds) and (not self.arms or cell.arm in self.arms)
        return cell.arm == BASE or is_meant

    def of(self, chains: Iterable[Chain]) -> list[Chain]:
        """The chains with the cells that are meant, without those that have none."""
        left = (Chain(tuple(filter(self.takes, chain.cells))) for chain in chains)
        return [chain for chain in left if chain.cells]


class Chain(NamedTuple):
    """Cells of one character and seed that share an adapter: the first trains it, the others take it."""

    cells: tuple[Cell, ...]


def plan_chains(plan: Plan, stage: Stage) -> list[Chain]:
    """Return the cells of a stage, the base model first, then character by character with all arms of a seed together.

    Arms that this build does not know are left out.
    """
    gone = unavailable(plan, stage.arms)
    arms = [arm for arm in stage.arms if arm not in gone]
    chains = [Chain((Cell(character, 0, BASE),)) for character in stage.characters]
    for seed in stage.seeds:
        for character in stage.characters:
            for owner in dict.fromkeys(plan.arms[arm].adapter or arm for arm in arms):
                sharing = [arm for arm in arms if owner in (arm, plan.arms[arm].adapter)]
                chains.append(Chain(tuple(Cell(character, seed, arm) for arm in sharing)))
    return chains


def digest_of(parts: Any) -> str:
    """A short digest of anything that JSON can say."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a file, none if it is absent. What a kill left of a line is passed over."""
    text = path.read_text("utf-8") if path.is_file() else ""
    rows = text.split("\n")
    # Only the last one may be half a line.
    return [_line(path, number, row) for number, row in enumerate(rows[:-1], start=1) if row]


def latest(lines: Iterable[Line]) -> dict[str, Line]:
    """Return the last good line of each cell."""
    return {line.cell: line for line in lines if line.error is None}


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Append a line in one write, so that no reader and no other process sees half of it or comes between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.ftruncate(descriptor, _end_of_last_line(descriptor, size))
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _end_of_last_line(descriptor: int, size: int) -> int:
    return os.pread(descriptor, size, 0).rfind(b"\n") + 1


def _line(path: Path, number: int, row: str) -> Line:
    try:
        return Line.model_validate_json(row)
    except ValidationError as error:
        raise InvalidInput(f"{path}, line {number}: is no line of the study; take it out: {error}") from error
