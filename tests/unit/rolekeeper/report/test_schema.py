"""docs/report.schema.json is the shape of every report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rolekeeper.report.schema import describe
from tests.unit.rolekeeper.reports import make_report

SNAPSHOT = Path(__file__).parents[4] / "docs" / "report.schema.json"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture
def report() -> Any:
    return json.loads(make_report().model_dump_json())


def test_snapshot_is_current() -> None:
    current = SNAPSHOT.read_text(encoding="utf-8") == describe()
    assert current, "run: python -m rolekeeper.report.schema > docs/report.schema.json"


def test_a_report_is_valid(validator: Draft202012Validator, report: Any) -> None:
    validator.validate(report)


@pytest.mark.parametrize("change", [{"schema_version": 1}, {"results": None}, {"verdict": "safe"}, {"judges": [{}]}])
def test_what_is_no_report_is_not(validator: Draft202012Validator, report: Any, change: dict[str, Any]) -> None:
    assert not validator.is_valid({**report, **change})


@pytest.mark.parametrize("name", ["schema_version", "base_digest", "software", "results", "answers", "points"])
def test_nothing_may_be_left_out(validator: Draft202012Validator, report: Any, name: str) -> None:
    del report[name]
    assert not validator.is_valid(report)
