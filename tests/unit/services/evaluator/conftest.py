"""Two tiny base models of one shape, a third of another shape, an adapter for the first, and an artifact store."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekeeper.artifacts.store import Store
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from tests.tiny import make_tiny_model, write_catalog
from tests.unit.services.evaluator.adapter_tars import make_files, pack


@pytest.fixture(scope="session")
def catalog_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny_models")
    models = {
        "tiny": make_tiny_model(folder / "tiny", seed=0),
        "twin": make_tiny_model(folder / "twin", seed=1),
        "qwen": make_tiny_model(folder / "qwen", seed=0, architecture="qwen2"),
    }
    return write_catalog(folder / "models.toml", models)


@pytest.fixture(scope="session")
def loaded(catalog_path: Path) -> LoadedModel:
    return load_base(load_catalog(catalog_path)["tiny"])


@pytest.fixture(scope="session")
def adapter_files(loaded: LoadedModel) -> dict[str, bytes]:
    return make_files(loaded)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def adapter_sha256(store: Store, adapter_files: dict[str, bytes]) -> str:
    return store.put(pack(adapter_files)).sha256
