from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.contracts.characters import Context, Dialogue, Message
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.contracts.training import TrainSample
from rolekeeper.lm.encode import EncodedSample
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.data import TrainingData, count_steps, epoch_order, global_batches, hold_out, read_samples
from services.trainer.program.failures import BadData
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    load_data,
    make_samples,
    make_spec,
    write_lines,
    write_samples,
)

GOOD = make_samples(1)[0].model_dump_json()


@given(num_samples=st.integers(1, 40), batch_size=st.integers(1, 12), epochs=st.integers(1, 4), seed=st.integers(0, 99))
def test_each_epoch_holds_every_sample_once(num_samples: int, batch_size: int, epochs: int, seed: int) -> None:
    hyper = Hyperparameters(batch_size=batch_size, epochs=epochs, seed=seed)
    batches = list(global_batches(range(num_samples), hyper))
    assert [batch.step for batch in batches] == list(range(count_steps(num_samples, hyper)))
    seen = [index for batch in batches for index in batch.indices]
    for epoch in range(epochs):
        assert sorted(seen[epoch * num_samples : (epoch + 1) * num_samples]) == list(range(num_samples))
    assert all(0 < len(batch.indices) <= batch_size for batch in batches)


@given(first_step=st.integers(0, 9))
def test_a_resumed_run_sees_what_it_would_have_seen(first_step: int) -> None:
    hyper = Hyperparameters(batch_size=4, epochs=3)
    assert list(global_batches(range(10), hyper, first_step)) == list(global_batches(range(10), hyper))[first_step:]


def test_order_depends_on_seed_and_epoch() -> None:
    assert epoch_order(8, seed=7, epoch=0) == [6, 3, 2, 1, 7, 0, 4, 5]
    assert epoch_order(8, seed=7, epoch=1) != epoch_order(8, seed=7, epoch=0) != epoch_order(8, seed=8, epoch=0)


def test_reads_what_was_written(tmp_path: Path) -> None:
    sha256 = write_samples(tmp_path / "samples.jsonl", make_samples())
    assert read_samples(tmp_path / "samples.jsonl", sha256) == make_samples()


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([GOOD, "{"], "line 2: Invalid JSON"),
        ([GOOD, GOOD, '{"dialogue": {"messages": []}}'], "line 3: dialogue.messages"),
        ([GOOD, ""], "line 2"),
        ([], "holds no sample"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: list[str], complaint: str) -> None:
    sha256 = write_lines(tmp_path / "samples.jsonl", lines)
    with pytest.raises(BadData, match=complaint):
        read_samples(tmp_path / "samples.jsonl", sha256)


def test_other_bytes_than_the_spec_says_are_refused(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.jsonl", make_samples())
    with pytest.raises(BadData, match=r"has sha256 .* but the spec says 00"):
        read_samples(tmp_path / "samples.jsonl", "00")


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"samples\.jsonl: the training data can't be read: No such file"):
        read_samples(tmp_path / "samples.jsonl", "00")


def test_a_sample_without_a_response_is_named(tmp_path: Path, tiny_folder: Path, loaded: LoadedModel) -> None:
    silent = TrainSample(dialogue=Dialogue(messages=(Message(role="user", content="Who keeps the light?"),)))
    spec = make_spec(tiny_folder, [*make_samples(2), silent])
    with pytest.raises(BadData, match="line 3: the last turn must be the assistant's"):
        load_data(spec, loaded)


def test_a_sample_longer_than_the_models_window_is_named(
    tiny_folder: Path, loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(tiny_folder)
    lengths = [len(sample.prompt_ids) + len(sample.response_ids) for sample in load_data(spec, loaded).samples]
    monkeypatch.setattr(LoadedModel, "window", max(lengths) - 1)
    line = lengths.index(max(lengths)) + 1
    with pytest.raises(BadData, match=f"line {line}: {max(lengths)} tokens are too many"):
        load_data(spec, loaded)


def test_the_role_context_puts_the_profile_before_the_dialogue(tiny_folder: Path, loaded: LoadedModel) -> None:
    hyper = HYPERPARAMETERS.model_copy(update={"context": Context.ROLE})
    plain = load_data(make_spec(tiny_folder), loaded)
    role = load_data(make_spec(tiny_folder, hyperparameters=hyper), loaded)
    assert "You keep the light of the harbour." in loaded.tokenizer.decode(role.samples[0].prompt_ids)
    assert "You keep the light of the harbour." not in loaded.tokenizer.decode(plain.samples[0].prompt_ids)
    assert role.samples[0].response_ids == plain.samples[0].response_ids
    assert role.harmful == plain.harmful == tuple(index % 3 == 0 for index in range(10))


def test_what_is_held_out_is_neither_trained_on_nor_anchored() -> None:
    sample = EncodedSample(prompt_ids=[1], response_ids=[2], truncated=False, dropped_messages=0)
    data = TrainingData((sample,) * 10, (True,) * 10)
    assert hold_out(data, Hyperparameters()) is data
    hyper = Hyperparameters(validation_share=0.3, epochs=2, batch_size=4)
    held = hold_out(data, hyper)
    assert len(held.validation) == 3
    assert sorted([*held.training, *held.validation]) == list(range(10))
    assert [index for index, flag in enumerate(held.harmful) if not flag] == list(held.validation)
    assert hold_out(data, hyper) == held != hold_out(data, hyper.model_copy(update={"seed": 1}))
    batches = list(global_batches(held.training, hyper))
    assert [batch.ends_epoch for batch in batches] == [False, True, False, True]
    for epoch in (batches[:2], batches[2:]):
        assert sorted(index for batch in epoch for index in batch.indices) == held.training


def test_one_sample_is_always_left_to_train_on_and_one_to_measure() -> None:
    sample = EncodedSample(prompt_ids=[1], response_ids=[2], truncated=False, dropped_messages=0)
    hyper = Hyperparameters(validation_share=0.01)
    assert len(hold_out(TrainingData((sample,) * 2, (False,) * 2), hyper).validation) == 1
    with pytest.raises(BadData, match="at least two samples"):
        hold_out(TrainingData((sample,), (False,)), hyper)
