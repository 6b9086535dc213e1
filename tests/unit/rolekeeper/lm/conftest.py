from __future__ import annotations

from pathlib import Path

import pytest

from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from tests.tiny import Architecture, make_tiny_model, write_catalog

ARCHITECTURES: tuple[Architecture, ...] = ("llama", "llama3", "qwen2", "gemma2", "smollm2")


@pytest.fixture(scope="session")
def tiny_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Allow-list of one tiny model for each architecture; the alias is its name."""
    folder = tmp_path_factory.mktemp("models")
    folders: dict[str, Path] = {name: make_tiny_model(folder / name, architecture=name) for name in ARCHITECTURES}
    return write_catalog(folder / "models.toml", folders)


@pytest.fixture(scope="session")
def tiny_models(tiny_catalog: Path) -> dict[str, LoadedModel]:
    return {alias: load_base(entry, device="cpu") for alias, entry in load_catalog(tiny_catalog).items()}


@pytest.fixture(scope="session")
def real_model() -> LoadedModel:
    """The packaged 135M model."""
    return load_base(load_catalog()["smollm2-135m"], device="cpu")


@pytest.fixture
def llama(tiny_models: dict[str, LoadedModel]) -> LoadedModel:
    return tiny_models["llama"]
