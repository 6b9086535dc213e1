from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from benchmarks.methods.__main__ import figures_of, make_spec, needed_files
from benchmarks.methods.ways import all_ways
from benchmarks.methods.workload import COMPLIANCE, make_files, read_character
from rolekeeper.contracts.jobs import Hyperparameters, Method
from rolekeeper.contracts.methods import MethodName
from rolekeeper.lm.catalog import find_entry, load_catalog
from services.trainer.program.run import Resident

EXAMPLES = Path(__file__).parents[4] / "examples"
HYPER = Hyperparameters(epochs=1, batch_size=4, lora_rank=8)


def test_every_method_is_a_way() -> None:
    ways = all_ways()
    assert {ways[name].name for name in get_args(MethodName)} == set(get_args(MethodName))
    assert ways["sarft+both"].options.anchors == "both"
    assert all_ways([0.3])["sarft+kl_limit=0.3"].options.kl_limit == 0.3


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_way_runs_and_says_what_came_of_it(tiny_catalog: Path, tmp_path: Path) -> None:
    resident = Resident()
    loaded = resident.load(find_entry(load_catalog(tiny_catalog), "tiny"), None)
    character = read_character(EXAMPLES, 8, loaded, HYPER)
    assert len(character.dialogues) == len(character.harmful) == 8
    files = make_files(tmp_path, loaded, HYPER)
    assert Path(files.harmful.path).read_text("utf-8").count(COMPLIANCE) == 20
    spec = make_spec(tmp_path / "run", "tiny", Method(name="bi_selection"), HYPER, character)
    update = {**needed_files(Method(name="bi_selection"), files), "models_path": str(tiny_catalog)}
    figures, steps = figures_of(spec.model_copy(update=update), resident, loaded, character.harmful)
    assert (figures["num_steps"], figures["num_samples"]) == (2, 8)
    assert figures["num_selected"] == sum(character.harmful)
    assert figures["last_loss"] > 0
    assert len(figures["adapter_sha256"]) == 64
    assert steps[2]["ce"] == figures["ce"]
    assert figures["ce_after"] > 0
    assert figures["kl_after"] > 0
