"""Whole models, as training of all weights makes them, in place of an adapter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from rolekeeper.artifacts.store import Store
from rolekeeper.lm.catalog import load_catalog
from rolekeeper.lm.load import LoadedModel
from rolekeeper.lm.resident import ResidentModels
from services.evaluator.adapters import Adapters, BadAdapter
from services.evaluator.kept import KeptAnswers
from services.evaluator.respond import Responder
from tests.unit.services.evaluator.adapter_tars import pack
from tests.unit.services.evaluator.test_respond import QUESTIONS, ask

Files = dict[str, bytes]


@pytest.fixture
def models(catalog_path: Path) -> ResidentModels:
    return ResidentModels(load_catalog(catalog_path), max_models=3)


@pytest.fixture
def responder(models: ResidentModels, store: Store, tmp_path: Path) -> Iterator[Responder]:
    adapters = Adapters(store)
    yield Responder(models, adapters, KeptAnswers(tmp_path / "answers"))
    adapters.close()


@pytest.fixture
def model_files(catalog_path: Path, loaded: LoadedModel) -> Files:
    """The model `twin` as if it were `tiny` after training."""
    folder = Path(load_catalog(catalog_path)["twin"].location)
    manifest = {"format": 1, "base_model": {"alias": "tiny", "digest": loaded.digest}}
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return {**files, "MANIFEST.json": json.dumps(manifest).encode(), "README.md": b"# Po\n"}


def test_a_whole_model_answers_and_leaves_the_base_model_as_it_was(
    responder: Responder, models: ResidentModels, store: Store, model_files: Files
) -> None:
    sha256 = store.put(pack(model_files)).sha256
    with models.use("tiny") as loaded:
        weights = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    assert (
        responder.answer(ask(*QUESTIONS, adapter=sha256)).texts
        == responder.answer(ask(*QUESTIONS, base_model="twin")).texts
    )
    with models.use("tiny") as loaded:
        after = loaded.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in weights.items())


def test_a_model_of_another_shape_or_base_is_refused(responder: Responder, store: Store, model_files: Files) -> None:
    tensors = load(model_files["model.safetensors"])
    first = sorted(tensors)[0]
    short = {**tensors, first: tensors[first][1:].clone()}
    lacking = {name: tensor for name, tensor in tensors.items() if name != first}
    for broken in (short, lacking, {**tensors, "more": torch.zeros(1)}):
        sha256 = store.put(pack({**model_files, "model.safetensors": save(broken)})).sha256
        with pytest.raises(BadAdapter, match="1 weights of the adapter do not fit base model 'tiny'"):
            responder.answer(ask(*QUESTIONS, adapter=sha256))
    with pytest.raises(BadAdapter, match="made for base model 'tiny'"):
        responder.answer(ask(*QUESTIONS, adapter=store.put(pack(model_files)).sha256, base_model="twin"))


@pytest.mark.parametrize("name", ["adapter_config.json", "modeling_evil.py", "pytorch_model.bin"])
def test_files_that_a_model_does_not_need_are_refused(
    responder: Responder, store: Store, model_files: Files, name: str
) -> None:
    with pytest.raises(BadAdapter, match="must not"):
        responder.answer(ask(*QUESTIONS, adapter=store.put(pack({**model_files, name: b"{}"})).sha256))
