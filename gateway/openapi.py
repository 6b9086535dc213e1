"""`python -m gateway.openapi > docs/openapi.json`: print the OpenAPI document. Nothing has to run for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gateway.app import create_app
from gateway.settings import Settings


def describe() -> str:
    """Return the document as it is kept in docs/openapi.json."""
    settings = Settings(
        database_url="postgresql+psycopg://nowhere", redis_url="redis://nowhere", store_dir=Path("nowhere")
    )
    return json.dumps(create_app(settings).openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(describe())
