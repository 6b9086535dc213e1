from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from services.scorer.app import create_app
from services.scorer.settings import Settings
from tests.tiny import make_tiny_model, write_catalog

TOKEN = "between-ourselves"


@pytest.fixture(scope="session")
def catalog_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    folders = {"tiny": make_tiny_model(folder / "tiny"), "gone": folder / "gone"}
    return write_catalog(folder / "models.toml", folders)


@pytest.fixture(scope="session")
def loaded(catalog_path: Path) -> LoadedModel:
    return load_base(load_catalog(catalog_path)["tiny"], "cpu")


@pytest.fixture
def client(catalog_path: Path) -> Iterator[TestClient]:
    settings = Settings(service_token=TOKEN, models=catalog_path)
    with TestClient(create_app(settings), headers={"authorization": f"Bearer {TOKEN}"}) as client:
        yield client
