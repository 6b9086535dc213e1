from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed as dist

from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from services.trainer.program.world import World
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world of one that was joined."""
    store = tmp_path_factory.mktemp("store") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    from deepspeed.utils import groups  # noqa: PLC0415 - it takes seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCAL_RANK", "0")
        # DeepSpeed keeps a group of the first world of a process, which is gone when a second one is joined.
        patch.setattr(groups, "_WORLD_GROUP", None)
        yield World()
    dist.destroy_process_group()
