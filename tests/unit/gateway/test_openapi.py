"""docs/openapi.json is what the gateway serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.openapi import describe

SNAPSHOT = Path(__file__).parents[3] / "docs" / "openapi.json"


def operations() -> dict[str, dict[str, Any]]:
    document = json.loads(describe())
    found = [operation for path in document["paths"].values() for operation in path.values()]
    return {operation["operationId"]: operation for operation in found}


def test_snapshot_is_current() -> None:
    current = SNAPSHOT.read_text(encoding="utf-8") == describe()
    assert current, "run: python -m gateway.openapi > docs/openapi.json"


def test_every_operation_is_documented() -> None:
    document = json.loads(describe())
    assert len(operations()) == sum(len(path) for path in document["paths"].values())
    for name, operation in operations().items():
        assert operation["summary"], name
        assert operation["tags"], name
        if "health" not in operation["tags"]:
            assert operation["description"], name
            assert operation["security"] == [{"API key": []}], name
            for status in ("401", "422", "503"):
                assert list(operation["responses"][status]["content"]) == ["application/problem+json"], name


def test_every_reference_leads_somewhere() -> None:
    document = json.loads(describe())
    schemas = document["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert {name.rpartition("/")[2] for name in references(document)} <= schemas.keys()
