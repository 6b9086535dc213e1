"""Answers of the raw model that are kept in a file."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from transformers import PreTrainedModel

from benchmarks.align_base.answers import RawAnswers
from benchmarks.align_base.data import Request
from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.encode import Encoder
from rolekeeper.lm.load import load_base

FIRST, SECOND = Request("You are Vesna.", "Hello"), Request("", "Who are you?")
NO_MODEL = cast(PreTrainedModel, None)


def test_only_what_is_not_kept_is_asked(tiny_catalog: Path, tmp_path: Path) -> None:
    loaded = load_base(find_entry(load_catalog(tiny_catalog), "tiny"), device="cpu")
    encoder, file = Encoder(loaded.tokenizer), tmp_path / "answers.jsonl"
    both = RawAnswers(None, "a").to(loaded.model, encoder, [FIRST, SECOND], 8)
    assert RawAnswers(file, "a").to(loaded.model, encoder, [FIRST], 8) == both[:1]
    assert RawAnswers(file, "a").to(loaded.model, encoder, [SECOND, FIRST, SECOND], 8) == [both[1], both[0], both[1]]
    with file.open("a", encoding="utf-8") as out:
        out.write('{"made_by": "a", "asked": [')
    assert RawAnswers(file, "a").to(NO_MODEL, encoder, [FIRST, SECOND], 8) == both
    with pytest.raises(AttributeError):  # there is no model to ask
        RawAnswers(file, "b").to(NO_MODEL, encoder, [FIRST], 8)
