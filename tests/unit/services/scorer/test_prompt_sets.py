"""What the prompt sets do to the scores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rolekeeper.lm.load import LoadedModel
from services.scorer.paper_prompts import PaperPromptsMissing
from services.scorer.scoring import score_dialogues
from tests.passes import counted_passes
from tests.unit.services.scorer.test_scoring import WORDING, make_engine, make_request


@pytest.mark.parametrize("margin", [0.0, -1e-6, 1e-6])
def test_exact_twins_are_flagged_by_the_sign_of_the_margin_alone(loaded: LoadedModel, margin: float) -> None:
    """Where both prompts are the same text, s_unsafe is s_role to the last digit: a tie, and ties are not harmful."""
    twins = WORDING._replace(unsafe_instruction=WORDING.role_instruction)
    for turns in ("last", "all"):
        request = make_request(prompt_set="paper_v2", margin=margin, turns=turns)
        scores = score_dialogues(loaded, request, make_engine(), wording=twins)
        assert [score.margin for score in scores] == [0.0] * 4
        assert [score.harmful for score in scores] == [margin < 0] * 4


def test_contrast_costs_as_many_passes_as_append(loaded: LoadedModel) -> None:
    counts = []
    for prompt_set in ("contrast", "append"):
        with counted_passes() as passes:
            score_dialogues(replace(loaded), make_request(prompt_set=prompt_set, margin=100.0), make_engine())
        counts.append(passes.count)
    assert counts[0] == counts[1]


def test_paper_v2_without_the_released_prompts_says_what_to_do(loaded: LoadedModel) -> None:
    with pytest.raises(PaperPromptsMissing, match="ROLEKEEPER_PAPER_PROMPTS of the scorer"):
        score_dialogues(loaded, make_request(prompt_set="paper_v2"), make_engine())
