from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from rolekeeper.contracts.jobs import Progress
from rolekeeper.contracts.training import TrainSpec
from rolekeeper.lm.forward import naive_logprobs
from rolekeeper.lm.load import LoadedModel
from services.trainer.program.adapter import fresh_adapter
from services.trainer.program.checkpoint import Checkpoints
from services.trainer.program.data import TrainingData, count_steps, hold_out
from services.trainer.program.engine import TorchEngine
from services.trainer.program.failures import Diverged
from services.trainer.program.loop import Curves, train
from services.trainer.program.policy import trained_weights
from services.trainer.program.recompute import recomputing
from services.trainer.program.validation import Validation
from tests.unit.services.trainer.program.runs import (
    HYPERPARAMETERS,
    PEFT_ASKS_BY_AN_OLD_NAME,
    give_effect,
    load_data,
    make_spec,
)

pytestmark = PEFT_ASKS_BY_AN_OLD_NAME


class Killed(Exception):
    """The run ends here."""


def spec_of(folder: Path, **changes: Any) -> TrainSpec:
    hyper = HYPERPARAMETERS.model_copy(update={"validation_share": 0.3, "epochs": 4, **changes})
    return make_spec(folder, hyperparameters=hyper)


def against_the_training(data: TrainingData) -> TrainingData:
    """Give every response that is held out one token, which no training response holds.

    Whatever makes the training responses likelier everywhere takes from that token: the validation loss rises with
    every epoch, on any machine.
    """
    taught = {token for index in data.training for token in data.samples[index].response_ids}
    stranger = next(token for token in range(10, 200) if token not in taught)
    samples = [
        sample._replace(response_ids=[stranger] * 6) if index in data.validation else sample
        for index, sample in enumerate(data.samples)
    ]
    return data._replace(samples=tuple(samples))


def run(
    spec: TrainSpec, loaded: LoadedModel, folder: Path, die_after: int = 99
) -> tuple[Curves, list[Progress], dict[str, torch.Tensor]]:
    folder.mkdir(exist_ok=True)
    data = hold_out(load_data(spec, loaded), spec.hyperparameters)
    if spec.hyperparameters.early_stop_epochs:
        data = against_the_training(data)
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        reports.append(progress)
        if progress.done == die_after and progress.metrics:
            raise Killed

    with fresh_adapter(loaded.model, spec.hyperparameters) as policy, recomputing(policy, data, spec):
        engine = TorchEngine(policy, spec.hyperparameters, count_steps(len(data.training), spec.hyperparameters))
        curves = train(policy, engine, data, spec, Checkpoints(folder, "run", 0.0), report)
        weights = {name: weight.detach().clone() for name, weight in policy.named_parameters() if weight.requires_grad}
        samples = [data.samples[index] for index in data.validation]
        naive = torch.cat([naive_logprobs(policy, sample) for sample in samples]).mean()
        assert -naive.item() == pytest.approx(
            min(curves.validation_losses) if spec.hyperparameters.early_stop_epochs else curves.validation_losses[-1],
            rel=1e-5,
        )
    return curves, reports, weights


@pytest.mark.parametrize("gradient_checkpointing", ["off", "on"])
def test_the_curve_has_a_point_for_each_epoch(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, gradient_checkpointing: str
) -> None:
    spec = spec_of(tiny_folder).model_copy(update={"gradient_checkpointing": gradient_checkpointing})
    curves, reports, _ = run(spec, loaded, tmp_path)
    assert len(curves.losses) == 8
    assert len(curves.validation_losses) == 4
    assert curves.validation_losses[-1] < curves.validation_losses[0]
    assert reports[-1].metrics["validation_loss"] == curves.validation_losses[-1]


@pytest.mark.parametrize("patience", [1, 2])
def test_an_early_stop_keeps_the_best_epoch(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, patience: int
) -> None:
    """The first epoch is the best by construction; `run` measures that the weights are those of the best."""
    curves, _, _ = run(spec_of(tiny_folder, early_stop_epochs=patience, epochs=12), loaded, tmp_path)
    assert list(curves.validation_losses) == sorted(curves.validation_losses)
    assert len(curves.validation_losses) == 1 + patience
    assert len(curves.losses) == 2 * (1 + patience)


def test_the_best_epoch_may_be_in_the_middle(tiny_folder: Path, loaded: LoadedModel) -> None:
    """Of three sets of weights, whichever has the lowest loss is shown second."""
    spec = spec_of(tiny_folder, early_stop_epochs=1)
    data = hold_out(load_data(spec, loaded), spec.hyperparameters)
    with fresh_adapter(loaded.model, spec.hyperparameters) as policy:
        measured = []
        for _ in range(3):
            give_effect(policy)
            weights = {name: weight.detach().clone() for name, weight in trained_weights(policy).items()}
            measured.append((Validation(policy, data, spec).measure()["validation_loss"], weights))
        best, middle, worst = sorted(measured, key=itemgetter(0))
        validation = Validation(policy, data, spec)
        over = []
        for _, weights in (middle, best, worst):
            set_weights(policy, weights)
            validation.measure()
            over.append(validation.is_over)
        validation.take_best()
        assert validation.losses == [middle[0], best[0], worst[0]]
        assert over == [False, False, True]
        assert all(torch.equal(weight, best[1][name]) for name, weight in trained_weights(policy).items())


def set_weights(policy: PeftModel, weights: dict[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, weight in trained_weights(policy).items():
            weight.copy_(weights[name])


@pytest.mark.parametrize("changes", [{}, {"early_stop_epochs": 2, "epochs": 12}])
def test_a_killed_run_ends_as_an_undisturbed_one(
    tiny_folder: Path, tmp_path: Path, loaded: LoadedModel, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trainer.program.meter._LEAST_SECONDS", 0.0)
    spec = spec_of(tiny_folder, **changes)
    curves, _, weights = run(spec, loaded, tmp_path / "whole")
    num_steps = len(curves.losses)
    for step in (1, 2, 3, num_steps - 2, num_steps - 1):
        folder = tmp_path / f"killed-{step}"
        with pytest.raises(Killed):
            run(spec, loaded, folder, die_after=step)
        again, _, same = run(spec, loaded, folder)
        assert again == curves
        assert all(torch.equal(same[name], weights[name]) for name in weights)


def test_a_loss_that_is_not_finite_ends_the_run(tiny_folder: Path, loaded: LoadedModel) -> None:
    spec = spec_of(tiny_folder)
    data = hold_out(load_data(spec, loaded), spec.hyperparameters)
    with fresh_adapter(loaded.model, spec.hyperparameters) as policy:
        with torch.no_grad():
            next(weight for name, weight in policy.named_parameters() if "lora_B" in name).fill_(float("nan"))
        with pytest.raises(Diverged, match="validation loss after epoch 1 is not a finite number"):
            Validation(policy, data, spec).measure()
