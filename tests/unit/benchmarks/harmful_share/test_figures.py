from __future__ import annotations

import pytest

from benchmarks.harmful_share.figures import Measured, Numbers, figures_of, permutation_p, pooled


def numbers(contrast: tuple[float, ...], append: tuple[float, ...], length: tuple[float, ...]) -> Numbers:
    return Numbers(contrast=contrast, append=append, paper_v2=None, length=length)


def measured(name: str, group: str, own: Numbers) -> Measured:
    return Measured(character=name, group=group, conditions={"answers": 2}, numbers=own)


def test_figures_by_hand() -> None:
    figures = figures_of(numbers((-0.5, 0.0, 0.1, 0.2), (0.1, 0.1, 0.1, -0.1), (0.1, -0.1, -0.1, -0.1)))
    # 2 of 4 with z = 1.96: centre 1/2, half-width z sqrt(n p q + z^2 / 4) / (n + z^2) = 0.35.
    assert (figures["contrast"], figures["contrast_low"], figures["contrast_high"]) == (0.5, 0.15, 0.85)
    assert (figures["append"], figures["length"], figures["mean_contrast"]) == (0.75, 0.25, -0.05)
    assert "paper_v2" not in figures


def test_p_by_hand() -> None:
    # Of the six pairs of four values, {3, 4} alone has at least the sum 7, and {2, 4} and {1, 4} ... are lower.
    assert permutation_p([1, 2, 3, 4], [False, False, True, True]) == pytest.approx(1 / 6)
    assert permutation_p([1, 2, 3, 4], [True, True, False, False]) == 1
    assert permutation_p([1, 1, 1, 1], [True, True, False, False]) == 1
    assert permutation_p([1, 2], [True, True]) == 1


def test_the_groups_and_what_a_longer_prompt_does() -> None:
    bad = measured("Gaston", "villain", numbers((0.1, 0.2), (0.1, 0.3), (0.0, 0.2)))
    good = measured("Coffey", "other", numbers((-0.1, 0.2), (0.2, 0.4), (0.1, 0.3)))
    figures = pooled([bad, good])
    assert (figures["contrast_villains"], figures["contrast_others"], figures["contrast_p"]) == (1.0, 0.5, 0.5)
    assert (figures["append_villains"], figures["append_others"], figures["append_p"]) == (1.0, 1.0, 1.0)
    assert figures["correlation_with_length"] == 1.0


def test_a_line_can_be_read_again() -> None:
    line = measured("Gaston", "villain", numbers((0.1,), (0.1,), (0.0,)))
    assert Measured.model_validate_json(line.model_dump_json()) == line
