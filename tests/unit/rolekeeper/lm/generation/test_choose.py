from __future__ import annotations

from random import Random

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from rolekeeper.lm.generation.choose import NEAR_EDGE, NEAR_TIE, Chooser, drawn, most_likely, nucleus, random_of


def test_the_most_likely_token_and_how_near_the_next_one_is() -> None:
    logits_BV = torch.tensor([[0.0, 2.0, 1.0], [3.0, 3.0, 0.0], [1.0, 1.0 + NEAR_TIE / 2, 0.0]])
    assert most_likely(logits_BV) == ([1, 0, 1], [False, True, True])


def test_a_nucleus_by_hand() -> None:
    """Of 0.5, 0.3, 0.2: 0.5 alone has less than 0.6, the two first have enough."""
    logits_BV = torch.tensor([[0.3, 0.5, 0.2]]).log()
    assert nucleus(logits_BV, 1.0, 0.6).tolist() == [pytest.approx([0.3, 0.5, 0.0], abs=1e-7)]
    assert nucleus(logits_BV, 1.0, 0.01).count_nonzero() == 1
    # At temperature 1/2: squares, over 0.38.
    assert nucleus(logits_BV, 0.5, 1.0).tolist() == [pytest.approx([0.09 / 0.38, 0.25 / 0.38, 0.04 / 0.38], abs=1e-7)]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.6, 0.4)])
def test_the_nucleus_is_that_of_transformers(temperature: float, top_p: float) -> None:
    logits_BV = 3 * torch.randn(20, 60, generator=torch.Generator().manual_seed(1))
    warped_BV = TemperatureLogitsWarper(temperature)(None, logits_BV)
    if top_p < 1:
        warped_BV = TopPLogitsWarper(top_p)(None, warped_BV)
    ours_BV = nucleus(logits_BV, temperature, top_p)
    ours_BV /= ours_BV.sum(-1, keepdim=True)
    torch.testing.assert_close(ours_BV.float(), warped_BV.softmax(-1), rtol=1e-4, atol=1e-6)


def test_a_draw_by_hand() -> None:
    """Of 0.2, 0, 0.3 and 0.5 of their sum: the edges lie at 0.2 and 0.5."""
    probs_BV = torch.tensor([[0.1, 0.0, 0.15, 0.25]], dtype=torch.float64).expand(5, -1)
    draws_B = torch.tensor([0.0, 0.19, 0.3, 0.5 + NEAR_EDGE, 0.99])
    assert drawn(probs_BV, draws_B.double()) == ([0, 0, 2, 3, 3], [True, False, False, True, False])


def test_draws_have_the_distribution() -> None:
    """Chi-squared over 8 tokens: its 99.9 % point at 7 degrees of freedom is 24.3. The draws are seeded."""
    logits_V = torch.tensor([0.1, 1.2, -0.4, 0.0, 2.0, -1.0, 0.5, 0.7])
    count = 4000
    draws = [random_of(3, [number]).random() for number in range(count)]
    tokens = Chooser(temperature=0.8).choose(logits_V.expand(count, -1), draws).tokens
    expected_V = count * (logits_V / 0.8).softmax(-1)
    found_V = torch.bincount(torch.tensor(tokens), minlength=8)
    assert float(((found_V - expected_V) ** 2 / expected_V).sum()) < 24.3


def test_the_draws_of_a_prompt_hang_on_its_ids_and_the_seed() -> None:
    def first(random: Random) -> list[float]:
        return [random.random() for _ in range(4)]

    assert first(random_of(1, [2, 3])) == first(random_of(1, (2, 3)))
    assert len({tuple(first(random_of(*case))) for case in ((1, [2, 3]), (2, [2, 3]), (1, [3, 2]), (1, [23]))}) == 4
