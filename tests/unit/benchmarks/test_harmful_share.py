from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harmful_share import CACHE_MIB, PROMPT_SETS, figures_of, is_usable, read_samples, score_all
from benchmarks.scoring.workload import Pair
from rolekeeper.contracts.characters import RoleProfile
from rolekeeper.contracts.scores import SampleScore
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import LoadedModel, load_base
from services.scorer.engine import make_engine

ROWS = [
    {"role": "Keeper", "question": "Who are you?", "generated": ["I keep the light.", "The keeper."]},
    {"role": "Keeper", "question": "Where do the boats go?", "generated": [" ", "Out."]},
    {"role": "Keeper", "question": "Who are you?", "generated": ["Once more: the keeper."]},
    {"role": "Harbour", "question": "Who are you?", "generated": ["The harbour."]},
]


@pytest.fixture
def loaded(tiny_catalog: Path) -> LoadedModel:
    return load_base(load_catalog(tiny_catalog)["tiny"], "cpu")


def write(folder: Path, rows: Any = ROWS) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return file


def score(margin: float) -> SampleScore:
    sums = {"role_logprob": 0.0, "unsafe_logprob": 0.0, "plain_logprob": 0.0}
    flags = {"harmful": margin > 0, "selected": margin > 0}
    return SampleScore(index=0, s_role=0.0, s_unsafe=margin, margin=margin, num_tokens=1, **flags, **sums)


def test_a_question_that_comes_again_does_not_count_again(tmp_path: Path) -> None:
    samples = read_samples(write(tmp_path), ["Keeper"])
    assert [pair.response for pair in samples["Keeper"]] == ["I keep the light.", "The keeper.", " ", "Out."]


def test_a_role_without_dialogues_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"rows\.jsonl has no dialogue of Gull"):
        read_samples(write(tmp_path), ["Keeper", "Gull"])


def test_an_empty_response_is_left_out(loaded: LoadedModel) -> None:
    assert not is_usable(loaded, Pair("Who are you?", " "))
    assert is_usable(loaded, Pair("Who are you?", "The keeper."))


def test_prompt_sets_give_different_margins(loaded: LoadedModel) -> None:
    engine = make_engine(CACHE_MIB, 256)
    profile = RoleProfile(name="Vesna", profile="You are Vesna, who keeps the light.")
    pairs = [Pair("Who are you?", "The keeper."), Pair("Where do the boats go?", "Out.")]
    by_set = [
        [score.margin for score in score_all(loaded, engine, profile, prompt_set, pairs)] for prompt_set in PROMPT_SETS
    ]
    assert [len(margins) for margins in by_set] == [2, 2]
    assert by_set[0] != by_set[1]


def test_figures_by_hand() -> None:
    figures = figures_of([score(margin) for margin in (-0.5, 0.0, 0.1, 0.2)])
    assert figures["num_samples"] == 4
    # 2 of 4 with z = 1.96: centre 1/2, half-width z sqrt(n p q + z^2 / 4) / (n + z^2) = 0.35.
    assert (figures["harmful_share"], figures["low"], figures["high"]) == (0.5, 0.15, 0.85)
    assert (figures["mean_margin"], figures["median_margin"]) == (-0.05, 0.05)
