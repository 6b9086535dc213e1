"""`python -m rolekeeper.report.schema > docs/report.schema.json`: print the JSON schema of the safety report."""

from __future__ import annotations

import json
import sys

from rolekeeper.contracts.report import SafetyReport


def describe() -> str:
    """Return the schema as it is kept in docs/report.schema.json."""
    schema = SafetyReport.model_json_schema(mode="serialization")
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rolekeeper safety report"}
    return json.dumps({**schema, **named}, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(describe())
