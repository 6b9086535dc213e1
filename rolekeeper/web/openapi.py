"""What FastAPI can't see by itself in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REFERENCE = "#/components/schemas/{model}"


def document_models(app: FastAPI, models: Sequence[type[BaseModel]]) -> None:
    """Add the schemas of models that routes name by reference only, such as error bodies."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        _, extra = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
        known = document.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in extra.get("$defs", {}).items():
            known.setdefault(name, schema)
        return document

    app.__dict__["openapi"] = described
