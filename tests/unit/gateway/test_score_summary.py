from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.score_summary import MARGIN_EDGES, summarise
from rolekeeper.contracts.scores import SampleScore


def make_score(index: int, margin: float, **changes: bool) -> SampleScore:
    values = {
        "index": index,
        "s_role": 0.5,
        "s_unsafe": 0.5 + margin,
        "margin": margin,
        "harmful": margin > 0,
        "selected": margin > 0,
        "num_tokens": 10,
        "role_logprob": -20.0,
        "unsafe_logprob": -20.0,
        "plain_logprob": -25.0,
    }
    return SampleScore.model_validate(values | changes)


def test_by_hand() -> None:
    scores = [
        make_score(0, 0.3),
        make_score(1, -0.3, truncated=True),
        make_score(2, 0.0, held_out=True),
        make_score(3, 2.0, selected=False),
    ]
    summary = summarise(scores)
    assert (summary.num_samples, summary.num_harmful, summary.num_selected) == (4, 2, 1)
    assert (summary.num_held_out, summary.num_truncated) == (1, 1)
    # Wilson for 2 of 4, z = 1.96: 0.5 -+ 0.3500.
    assert summary.harmful_share.value == 0.5
    assert summary.harmful_share.low == pytest.approx(0.1500, abs=1e-4)
    assert summary.harmful_share.high == pytest.approx(0.8500, abs=1e-4)
    filled = {(bin_.low, bin_.high): bin_.num_samples for bin_ in summary.histogram if bin_.num_samples}
    assert filled == {(-0.5, -0.2): 1, (-0.01, 0.0): 1, (0.2, 0.5): 1, (1.0, None): 1}
    assert [sample.index for sample in summary.most_harmful] == [3, 0, 2, 1]
    assert [sample.index for sample in summary.most_role_like] == [1, 2, 0, 3]
    assert summary.most_harmful[0].s_unsafe == 2.5


def test_the_bins_cover_every_margin_once_and_a_tie_is_not_harmful() -> None:
    margins = [*MARGIN_EDGES, *(random.Random(1).uniform(-2, 2) for _ in range(1000))]
    summary = summarise(make_score(index, margin) for index, margin in enumerate(margins))
    bins = summary.histogram
    assert (bins[0].low, bins[-1].high) == (None, None)
    assert all(one.high == following.low for one, following in pairwise(bins))
    for bin_ in bins:
        low, high = -9.0 if bin_.low is None else bin_.low, 9.0 if bin_.high is None else bin_.high
        assert bin_.num_samples == sum(low < margin <= high for margin in margins)
    assert sum(bin_.num_samples for bin_ in bins if bin_.low is not None and bin_.low >= 0) == summary.num_harmful


def test_ten_at_each_end_and_the_smaller_index_of_equals() -> None:
    margins = [random.Random(2).choice([-0.5, -0.1, 0.1, 0.5]) for _ in range(200)]
    summary = summarise(make_score(index, margin) for index, margin in enumerate(margins))
    by_margin = sorted(range(200), key=lambda index: (margins[index], index))
    assert [sample.index for sample in summary.most_role_like] == by_margin[:10]
    by_harm = sorted(range(200), key=lambda index: (-margins[index], index))
    assert [sample.index for sample in summary.most_harmful] == by_harm[:10]


def test_no_scores_are_no_error() -> None:
    summary = summarise([])
    assert (summary.num_samples, summary.harmful_share.low, summary.harmful_share.high) == (0, 0.0, 1.0)
    assert summary.most_harmful == ()
