"""The spec of a run, and the digest that says which run a checkpoint or a result belongs to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rolekeeper.contracts.training import TrainSpec
from services.trainer.program.failures import BadSpec

# They say where, how often, in what memory and for whom, and change nothing in the adapter. The data is named by its
# sha256.
_WITHOUT_EFFECT: dict[str, Any] = {
    "work_dir": True,
    "samples_path": True,
    "models_path": True,
    "cache_dir": True,
    "request_id": True,
    "checkpoint_seconds": True,
    "gradient_checkpointing": True,
    "safe": {"path"},
    "harmful": {"path"},
}


def read_spec(path: Path) -> TrainSpec:
    """Read a spec file. Raises BadSpec, which names every field that is wrong."""
    try:
        return TrainSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadSpec(f"{path}: the spec can't be read: {error.strerror}") from error
    except ValidationError as error:
        raise BadSpec(f"{path}: {explain(error)}") from error


def explain(error: ValidationError) -> str:
    """The problems of a pydantic model in one line, each with its place and without the value that was sent."""
    problems = (f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}".lstrip(": ") for item in error.errors())
    return "; ".join(problems)


def spec_digest(spec: TrainSpec) -> str:
    """The sha256, in hex, of everything in the spec that the adapter depends on."""
    content = spec.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
