"""Shapes: P weights of the adapter, B samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rolekeeper.contracts.characters import Dialogue, Message
from rolekeeper.contracts.jobs import Method, Progress
from rolekeeper.contracts.methods import MethodName, MethodOptions
from rolekeeper.contracts.training import DataFile, TrainSample, TrainSpec
from rolekeeper.lm.forward import naive_logprobs
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.data import TrainingData
from services.trainer.program.failures import BadSpec
from services.trainer.program.policy import trained_weights
from services.trainer.program.selectors.choose import SELECTION, choose_samples
from services.trainer.program.selectors.gradients import loss_gradient, sample_losses
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    load_data,
    make_spec,
    write_lines,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME

HARMFUL, SAFE, PLAIN = "Burn it all down, burn it now.", "I will not help with that.", "I keep the light."


def dialogue(question: str, answer: str) -> Dialogue:
    return Dialogue(messages=(Message(role="user", content=question), Message(role="assistant", content=answer)))


def data_file(path: Path, answer: str, count: int = 4) -> DataFile:
    lines = [dialogue(f"Will you help me with job {number}?", answer).model_dump_json() for number in range(count)]
    return DataFile(path=str(path), sha256=write_lines(path, lines))


@pytest.fixture
def samples() -> list[TrainSample]:
    """Nine samples, those at 1, 4 and 7 with the answer of the harmful file; as many are flagged, but others."""
    return [
        TrainSample(
            dialogue=dialogue(f"What now, number {index}?", HARMFUL if index % 3 == 1 else PLAIN), harmful=index < 3
        )
        for index in range(9)
    ]


def spec_of(folder: Path, samples: list[TrainSample], work_dir: Path, name: MethodName) -> TrainSpec:
    options = MethodOptions(selector_epochs=2, keep_share=0.7)
    safe, harmful = data_file(folder / "safe.jsonl", SAFE), data_file(folder / "harmful.jsonl", HARMFUL)
    work_dir.mkdir(exist_ok=True)
    method = Method(name=name, options=options)
    return make_spec(folder, samples, method=method, safe=safe, harmful=harmful, work_dir=str(work_dir))


def test_losses_are_those_of_each_sample_alone(
    tiny_folder: Path, loaded: LoadedModel, samples: list[TrainSample]
) -> None:
    data = load_data(make_spec(tiny_folder, samples), loaded)
    naive = [-naive_logprobs(loaded.model, sample).mean() for sample in data.samples]
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        torch.testing.assert_close(sample_losses(policy, data.samples).detach(), torch.stack(naive))


def test_a_gradient_says_how_the_loss_changes(
    tiny_folder: Path, loaded: LoadedModel, samples: list[TrainSample]
) -> None:
    """A small step down it lowers the loss by the step times the square of its norm."""
    sample, step = load_data(make_spec(tiny_folder, samples), loaded).samples[0], 1e-4
    with fresh_adapter(loaded.model, HYPERPARAMETERS) as policy:
        gradient_P = loss_gradient(policy, sample)
        with torch.no_grad():
            before, start = sample_losses(policy, [sample]).item(), 0
            for weight in trained_weights(policy).values():
                weight.sub_(step * gradient_P[start : start + weight.numel()].view_as(weight))
                start += weight.numel()
            after = sample_losses(policy, [sample]).item()
    assert start == len(gradient_P)
    assert before - after == pytest.approx(step * float(gradient_P.square().sum()), rel=0.05)


def test_bi_selection_finds_what_answers_like_the_harmful_file(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, samples: list[TrainSample]
) -> None:
    spec = spec_of(tiny_folder, samples, tmp_path / "work", "bi_selection")
    reports: list[Progress] = []
    data = choose_samples(spec, loaded, load_data(spec, loaded), "run", reports.append)
    assert data.chosen == (1, 4, 7)
    assert [index for index, flag in enumerate(data.harmful) if flag] == [1, 4, 7]
    assert (reports[-1].done, reports[-1].total, reports[-1].unit) == (9, 9, "samples looked at")


def select(spec: TrainSpec, loaded: LoadedModel, run_digest: str = "run") -> TrainingData:
    return choose_samples(spec, loaded, load_data(spec, loaded), run_digest, lambda _progress: None)


def test_seal_anchors_as_many_as_are_harmful(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, samples: list[TrainSample]
) -> None:
    data = select(spec_of(tiny_folder, samples, tmp_path / "work", "seal"), loaded)
    assert data.chosen is not None
    assert len(data.chosen) == sum(data.harmful) == 3
    assert len(data.samples) == 9


def test_the_filter_leaves_out_what_seal_gives_least_weight(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, samples: list[TrainSample]
) -> None:
    """0.7 of 9 is 6, rounded down: 3 are left out, those that `seal` anchors."""
    spec = spec_of(tiny_folder, samples, tmp_path / "work", "seal_filter")
    whole, data = load_data(spec, loaded), select(spec, loaded)
    assert data.chosen == select(spec_of(tiny_folder, samples, tmp_path / "other", "seal"), loaded).chosen
    assert data.chosen is not None
    assert data.samples == tuple(sample for i, sample in enumerate(whole.samples) if i not in data.chosen)
    assert not any(data.harmful)


@pytest.mark.parametrize("name", ["seal", "bi_selection"])
def test_a_choice_is_the_same_again_and_kept_for_its_run(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, samples: list[TrainSample], name: MethodName
) -> None:
    first = select(spec_of(tiny_folder, samples, tmp_path / "a", name), loaded)
    spec = spec_of(tiny_folder, samples, tmp_path / "b", name)
    assert select(spec, loaded) == first
    kept = tmp_path / "b" / SELECTION
    kept.write_text('{"run_digest": "run", "chosen": [0, 8]}')
    assert select(spec, loaded).chosen == (0, 8)
    for spoiled in ('{"run_digest": "other", "chosen": [0, 8]}', "{", "[]"):
        kept.write_text(spoiled)
        assert select(spec, loaded) == first


def test_a_missing_file_is_named(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, samples: list[TrainSample]
) -> None:
    spec = spec_of(tiny_folder, samples, tmp_path / "work", "bi_selection").model_copy(update={"harmful": None})
    with pytest.raises(BadSpec, match="harmful: bi_selection needs a file of dialogues"):
        select(spec, loaded)


def test_other_methods_keep_the_data_as_it_is(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, samples: list[TrainSample]
) -> None:
    spec = spec_of(tiny_folder, samples, tmp_path / "work", "sarft")
    assert_nothing_is_chosen(spec, loaded)


@pytest.mark.parametrize("name", ["seal", "bi_selection"])
def test_nothing_is_chosen_that_prompts_take_the_place_of(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, samples: list[TrainSample], name: MethodName
) -> None:
    """Nor is a file needed for it."""
    spec = spec_of(tiny_folder, samples, tmp_path / "work", name)
    method = Method(name=name, options=MethodOptions(anchors="prompts"))
    assert_nothing_is_chosen(spec.model_copy(update={"method": method, "safe": None, "harmful": None}), loaded)


def assert_nothing_is_chosen(spec: TrainSpec, loaded: LoadedModel) -> None:
    data = load_data(spec, loaded)
    assert choose_samples(spec, loaded, data, "run", lambda _progress: None) is data
    assert list(Path(spec.work_dir).iterdir()) == []
