from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from tests.unit.services.trainer.program.runs import make_spec


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which make_spec finds a tiny model."""
    folder = tmp_path_factory.mktemp("tiny")
    make_spec(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tiny_folder: Path) -> LoadedModel:
    """The tiny model in memory."""
    return load_base(find_entry(load_catalog(tiny_folder / "models.toml"), "tiny"), device="cpu")
