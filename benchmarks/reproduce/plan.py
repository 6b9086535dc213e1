"""The plan of the study: what is run, and on what. It is a file, so that it can be written down before the runs."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rolekeeper.contracts.characters import Context
from rolekeeper.contracts.evaluation import Decoding, JudgeName
from rolekeeper.contracts.jobs import AskedHyperparameters, Method
from rolekeeper.errors import InvalidInput
from services.trainer.launch import MatmulPrecision

PLAN = Path(__file__).with_name("plan.toml")
BASE = "base"
"""The arm that is no training: the base model's own answers, once for each character."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Suite(_Table):
    """Prompts of one kind: `count` of a part of a suite, drawn by the plan's seed."""

    suite: str
    part: str
    context: Context
    count: int = Field(ge=1)


class Arm(_Table):
    """A way to train and to answer. Tables that the product reads stay as they are: it may not know them yet.

    `adapter` names the arm whose adapter this one takes; then nothing is trained. `scale` multiplies the adapter.
    With `share` that part of the training samples is anchored, those that `pick` says, whatever the threshold flags.
    """

    method: dict[str, Any] = {}
    hyperparameters: dict[str, Any] = {}
    adapter: str | None = None
    scale: float = Field(default=1.0, gt=0, le=2)
    decoding: dict[str, Any] = {}
    share: float | None = Field(default=None, gt=0, le=1)
    pick: Literal["highest", "lowest", "random"] = "highest"

    @model_validator(mode="after")
    def _train_or_take(self) -> Self:
        if self.adapter is not None and (self.method or self.hyperparameters or self.share):
            raise ValueError("takes the adapter of another arm: leave out method, hyperparameters and share")
        return self


class Character(_Table):
    """A character of the study. Without a file of its own it is one of RoleBench's roles."""

    villain: bool = False
    example: bool = False


class Stage(_Table):
    """A part of the study: which characters, seeds and arms."""

    characters: tuple[str, ...]
    seeds: tuple[int, ...]
    arms: tuple[str, ...]


class Plan(_Table):
    """All that the numbers of the study depend on, beside the code and the data."""

    base_model: str
    num_training: int = Field(ge=10)
    num_held_out: int = Field(ge=2)
    held_out_share: float = Field(gt=0, le=0.5)
    draw_seed: int
    max_new_tokens: int = Field(ge=8)
    judges: tuple[JudgeName, ...] = Field(min_length=1)
    context: Context
    hyperparameters: dict[str, Any] = {}
    matmul_precision: MatmulPrecision = "highest"
    decoding: dict[str, Any] = {}
    suites: dict[str, Suite]
    characters: dict[str, Character]
    arms: dict[str, Arm]
    stages: dict[str, Stage]
    candidates: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        for name, stage in self.stages.items():
            _need(f"stages.{name}.characters", stage.characters, self.characters)
            _need(f"stages.{name}.arms", stage.arms, self.arms)
        _need("candidates", self.candidates, self.arms)
        for name, arm in self.arms.items():
            _need(f"arms.{name}.adapter", (arm.adapter,) if arm.adapter else (), self.arms)
            if arm.adapter and self.arms[arm.adapter].adapter:
                raise ValueError(f"arms.{name}.adapter: {arm.adapter} has no adapter of its own")
        if BASE in self.arms:
            raise ValueError(f"arms.{BASE}: the base model is measured anyway; choose another name")
        return self


class Loaded(NamedTuple):
    """A plan, and the digest of its file."""

    plan: Plan
    digest: str


class Ready(NamedTuple):
    """An arm in the product's words: how to train, how to answer."""

    method: Method
    hyperparameters: AskedHyperparameters
    decoding: Decoding


def load_plan(path: Path = PLAN, base_model: str | None = None) -> Loaded:
    """Read a plan, for its base model or another. Raises InvalidInput, which says what is wrong where.

    With `extends` it names a file beside it, whose tables it changes; the digest is that of both.
    """
    try:
        tables, digest = _read(path)
        plan = Plan.model_validate(tables | ({} if base_model is None else {"base_model": base_model}))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise InvalidInput(f"{path}: the plan can't be used: {error}") from error
    return Loaded(plan, digest)


def _read(path: Path) -> tuple[dict[str, Any], str]:
    data = path.read_bytes()
    tables = tomllib.loads(data.decode())
    if "extends" not in tables:
        return tables, hashlib.sha256(data).hexdigest()[:12]
    under, digest = _read(path.with_name(tables.pop("extends")))
    return _merged(under, tables), hashlib.sha256(digest.encode() + data).hexdigest()[:12]


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The tables of one file with those of another put into them, table by table."""
    merged = dict(under)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(name), dict)
        merged[name] = _merged(under[name], value) if both else value
    return merged


def find_stage(plan: Plan, name: str) -> Stage:
    """Return a stage. Raises InvalidInput, which lists those there are."""
    if name not in plan.stages:
        raise InvalidInput(f"the plan has no stage {name!r}; it has {', '.join(plan.stages)}")
    return plan.stages[name]


def make_ready(plan: Plan, name: str, seed: int) -> Ready:
    """Return an arm as the product's own contracts read it; of an arm that takes an adapter, that one's training.

    Raises InvalidInput where they do not know it: another build may.
    """
    arm = plan.arms[name]
    trained = plan.arms[arm.adapter] if arm.adapter else arm
    try:
        return Ready(
            Method.model_validate(trained.method),
            AskedHyperparameters.model_validate({**plan.hyperparameters, **trained.hyperparameters, "seed": seed}),
            Decoding.model_validate(plan.decoding | arm.decoding),
        )
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise InvalidInput(f"arm {name!r} is not available in this build: {reasons}") from error


def unavailable(plan: Plan, names: tuple[str, ...]) -> dict[str, str]:
    """Return the arms that this build's contracts do not know, each with the reason."""
    reasons = {}
    for name in names:
        try:
            make_ready(plan, name, 0)
        except InvalidInput as error:
            reasons[name] = error.message
    return reasons


def _need(where: str, names: tuple[str, ...], known: dict[str, Any]) -> None:
    missing = sorted(set(names) - set(known))
    if missing:
        raise ValueError(f"{where} names {', '.join(missing)}, of which there is no table")
