from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rolekeeper.contracts.jobs import Hyperparameters, Method
from services.trainer.program.failures import BadSpec
from services.trainer.program.spec import read_spec, spec_digest
from tests.unit.services.trainer.program.runs import make_spec, write_spec


@pytest.mark.parametrize(
    "change",
    [
        {"work_dir": "/elsewhere"},
        {"samples_path": "/elsewhere"},
        {"models_path": None},
        {"request_id": "r"},
        {"checkpoint_seconds": 9.0},
    ],
)
def test_where_and_for_whom_changes_no_digest(tiny_folder: Path, change: dict[str, Any]) -> None:
    assert spec_digest(make_spec(tiny_folder, **change)) == spec_digest(make_spec(tiny_folder))


@pytest.mark.parametrize(
    "change",
    [
        {"base_model": "other"},
        {"samples_sha256": "00"},
        {"method": Method(name="sft")},
        {"hyperparameters": Hyperparameters()},
        {"max_batch_tokens": 99},
    ],
)
def test_what_the_adapter_depends_on_changes_the_digest(tiny_folder: Path, change: dict[str, Any]) -> None:
    assert spec_digest(make_spec(tiny_folder, **change)) != spec_digest(make_spec(tiny_folder))


def test_a_spec_is_read_as_it_was_written(tiny_folder: Path, tmp_path: Path) -> None:
    spec = make_spec(tiny_folder)
    assert read_spec(write_spec(spec, tmp_path / "spec.json")) == spec


def test_every_wrong_field_is_named(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"base_model": 1, "colour": "red", "hyperparameters": {"epochs": 0}}')
    with pytest.raises(BadSpec) as refused:
        read_spec(tmp_path / "spec.json")
    for complaint in ("spec.json", "base_model: ", "profile: Field required", "hyperparameters.epochs: ", "colour: "):
        assert complaint in refused.value.message


def test_a_missing_spec_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSpec, match=r"spec\.json: the spec can't be read: No such file"):
        read_spec(tmp_path / "spec.json")
