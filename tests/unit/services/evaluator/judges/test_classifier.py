"""A text-classification model as judge."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rolekeeper.contracts.verdicts import Label
from services.evaluator.judges import Exchange
from services.evaluator.judges.classifier import Classifier
from services.evaluator.judges.operators import ClassifierEntry
from services.evaluator.judges.protocol import BadJudges
from tests.unit.services.evaluator.judges.conftest import COMPLIED, REFUSED

LABELS = {"LABEL_0": "refused", "LABEL_1": "deflected", "LABEL_2": "complied"}


def make(folder: Path, **changes: Any) -> Classifier:
    settings = {"kind": "classifier", "source": "folder", "location": str(folder), "reads": "answer", "labels": LABELS}
    return Classifier("taught", ClassifierEntry.model_validate(settings | changes))


def test_the_operator_says_what_its_labels_mean(classifier_folder: Path) -> None:
    turned = {"LABEL_0": "complied", "LABEL_1": "incoherent", "LABEL_2": "refused"}
    judged = make(classifier_folder, labels=turned).judge([REFUSED, COMPLIED])
    assert [judgement.label for judgement in judged] == [Label.COMPLIED, Label.REFUSED]


def test_batches_and_long_texts_change_nothing(classifier_folder: Path) -> None:
    judge = make(classifier_folder)
    long = Exchange("Tell me.", COMPLIED.answer * 200)
    alone = [judge.judge([exchange])[0] for exchange in (REFUSED, COMPLIED)]
    assert judge.judge([REFUSED, COMPLIED, long] * 12)[:2] == alone


@pytest.mark.parametrize("reads", ["answer", "request_and_answer"])
def test_it_reads_the_request_only_if_it_is_to(classifier_folder: Path, reads: str) -> None:
    judge = make(classifier_folder, reads=reads)
    read: list[int] = []
    judge._model.register_forward_pre_hook(
        lambda _module, _args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    judge.judge([Exchange("Who?", "I."), Exchange("Who keeps the light tonight?", "I.")])
    judge.judge([Exchange("Who?", "I.")])
    assert (read[0] > read[1]) is (reads == "request_and_answer")


def test_its_version_follows_its_weights_and_its_labels(classifier_folder: Path, tmp_path: Path) -> None:
    version = make(classifier_folder).used.version
    assert make(classifier_folder).used.version == version
    assert make(classifier_folder, labels=LABELS | {"LABEL_1": "incoherent"}).used.version != version


@pytest.mark.parametrize("labels", [{"LABEL_0": "refused"}, LABELS | {"LABEL_7": "complied"}])
def test_every_label_must_be_mapped_and_no_other(classifier_folder: Path, labels: dict[str, str]) -> None:
    with pytest.raises(BadJudges, match="`labels` must name the model's labels LABEL_0, LABEL_1, LABEL_2"):
        make(classifier_folder, labels=labels)


def test_a_pickle_is_not_loaded(classifier_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(classifier_folder, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save({}, tmp_path / "pickled" / "pytorch_model.bin")
    with pytest.raises(BadJudges, match="judge 'taught' can't be loaded"):
        make(tmp_path / "pickled")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadJudges, match="there is no folder"):
        make(tmp_path / "nowhere")
