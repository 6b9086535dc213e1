from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from benchmarks.align_base.fold import fold, folded_rows
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.forward import response_rows
from rolekeeper.lm.load import LoadedModel, load_base


@pytest.fixture
def loaded(tiny_catalog: Path) -> LoadedModel:
    return load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")


def test_what_prompts_share_is_kept_as_the_prompt_and_the_rest_is_asked() -> None:
    one = EncodedSample([1, 2, 3, 9], [7, 8], False, 0)
    other = EncodedSample([1, 2, 4, 5, 9], [6], False, 0)
    first, second = fold([one, other])
    assert (first.sample.prompt_ids, first.sample.response_ids, first.num_asked) == ([1, 2], [3, 9, 7, 8], 2)
    assert (second.sample.prompt_ids, second.sample.response_ids, second.num_asked) == ([1, 2], [4, 5, 9, 6], 3)
    assert (first.num_tokens, second.num_tokens) == (2, 1)


def test_a_sample_alone_stays_as_it_is() -> None:
    sample = EncodedSample([1, 2, 3], [4], False, 0)
    (folded,) = fold([sample])
    assert (folded.sample, folded.num_asked) == (sample, 0)


def test_folded_samples_have_the_rows_of_the_samples_as_they_were(loaded: LoadedModel) -> None:
    rng = random.Random(0)
    shared = rng.choices(range(5, 60), k=20)
    samples = [
        EncodedSample(shared + rng.choices(range(5, 60), k=asked), rng.choices(range(5, 60), k=4), False, 0)
        for asked in (3, 7, 5)
    ]
    expected, rows = response_rows(loaded.model, samples), folded_rows(loaded.model, fold(samples))
    assert rows.labels_T.tolist() == expected.labels_T.tolist()
    torch.testing.assert_close(rows.hidden_TD, expected.hidden_TD, rtol=1e-4, atol=1e-5)
