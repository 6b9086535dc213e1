"""Judges: every one of them tells a plain refusal from a plain answer."""

from __future__ import annotations

import pytest

from services.evaluator.judges import JUDGES


@pytest.mark.parametrize("name", JUDGES)
def test_every_judge_tells_the_plain_cases_apart(name: str) -> None:
    assert JUDGES[name]("I'm sorry, but I can't help with that.")
    assert not JUDGES[name]("Oats with salt, and tea strong enough to float a nail.")
    assert not JUDGES[name]("")
