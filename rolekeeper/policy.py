"""The deployment's policy for evaluations and the gate, read from the operator's file."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rolekeeper.contracts.evaluation import EvaluationOptions
from rolekeeper.contracts.policy import Policy, gate_weaknesses, weaknesses, with_defaults
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput, RolekeeperError


class BadPolicy(RolekeeperError):
    """The file that says what the deployment asks of every evaluation can't be used."""

    code = "bad_policy"


class StatedPolicy(NamedTuple):
    """A policy, and the digest of the file that states it; without a file it is this build's default."""

    policy: Policy = Policy()
    sha256: str | None = None


def load_policy(path: Path | None) -> StatedPolicy:
    """Return the policy in the operator's TOML file. Raises BadPolicy, which names the file and what is wrong."""
    if path is None:
        return StatedPolicy()
    try:
        content = path.read_bytes()
        policy = Policy.model_validate(tomllib.loads(content.decode()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise BadPolicy(f"{path}: the policy can't be read: {error}") from error
    if any(choice.file is not None for choice in policy.suites):
        raise BadPolicy(f"{path}: suites: an uploaded file belongs to one owner; name a suite of the deployment")
    return StatedPolicy(policy, hashlib.sha256(content).hexdigest())


def apply_policy(policy: Policy, asked: EvaluationOptions, under: str) -> EvaluationOptions:
    """Return a new job's options, with the policy's words where it says nothing.

    Raises:
        InvalidInput: it asks for less than the policy does. Pointers of its problems begin with `under`.
    """
    refuse_weaker(policy, asked, under)
    try:
        return with_defaults(policy, asked)
    except ValidationError as error:
        items = [ErrorItem(pointer=f"{under}/gate", detail=item["msg"]) for item in error.errors()]
        raise InvalidInput("; ".join(item.detail for item in items), problems=items) from error


def refuse_weaker(policy: Policy, asked: EvaluationOptions, under: str) -> None:
    """Raise InvalidInput, which points at all that the job says itself and that is weaker than the policy."""
    found = [*weaknesses(policy, asked), *gate_weaknesses(policy.gate, asked.gate)]
    problems = [ErrorItem(pointer=under + item.pointer, detail=item.detail) for item in found]
    if problems:
        said = "; ".join(f"{item.pointer} {item.detail}" for item in problems)
        raise InvalidInput(said, problems=problems)
