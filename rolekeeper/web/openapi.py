"""What FastAPI can't see by itself in the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import compile_path

REFERENCE = "#/components/schemas/{model}"


Methods = Callable[[str], frozenset[str]]


def find_methods(app: FastAPI) -> Methods:
    """Return what tells the documented methods of a path. Routes of one path are many, and none knows the others."""

    @cache
    def documented() -> list[tuple[re.Pattern[str], frozenset[str]]]:
        paths: dict[str, dict[str, Any]] = app.openapi()["paths"]
        return [(compile_path(path)[0], frozenset(map(str.upper, calls))) for path, calls in paths.items()]

    def methods_of(path: str) -> frozenset[str]:
        return frozenset().union(*(methods for pattern, methods in documented() if pattern.fullmatch(path)))

    return methods_of


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
