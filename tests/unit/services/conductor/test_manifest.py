from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.jobs import Hyperparameters
from rolekeeper.errors import NotFound, StageFailed
from services.conductor.manifest import read_training

TRAINING = {
    "method": {"name": "sarft"},
    "hyperparameters": Hyperparameters(epochs=2).model_dump(mode="json"),
    "num_steps": 4,
    "first_loss": 3.0,
    "last_loss": 2.0,
    "least_loss": 1.5,
}


def put_tar(store: Store, name: str, content: str) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content.encode()))
    return store.put(packed.getvalue()).sha256


def test_the_record_is_what_the_manifest_says(tmp_path: Path) -> None:
    store = Store(tmp_path)
    curves = {"losses": [3.0, 1.5, 2.0, 2.0], "validation_losses": [2.5, 2.25]}
    sha256 = put_tar(store, "MANIFEST.json", json.dumps({"training": {**TRAINING, **curves}}))
    record = read_training(store, sha256)
    assert (record.hyperparameters.epochs, record.num_steps, record.last_loss) == (2, 4, 2.0)
    assert record.validation_losses == (2.5, 2.25)
    without = read_training(store, put_tar(store, "MANIFEST.json", json.dumps({"training": TRAINING})))
    assert (record.losses, without.losses) == ((3.0, 1.5, 2.0, 2.0), ())
    assert without == record.model_copy(update={"losses": (), "validation_losses": ()})


@pytest.mark.parametrize(
    ("name", "content"),
    [("README.md", "{}"), ("MANIFEST.json", "{"), ("MANIFEST.json", "[]"), ("MANIFEST.json", '{"training": {}}')],
)
def test_an_adapter_without_a_manifest_is_an_error(tmp_path: Path, name: str, content: str) -> None:
    store = Store(tmp_path)
    with pytest.raises(StageFailed, match="train it again") as caught:
        read_training(store, put_tar(store, name, content))
    assert caught.value.code == "bad_adapter"
    with pytest.raises(StageFailed, match="train it again"):
        read_training(store, store.put(b"no tar").sha256)
    with pytest.raises(NotFound):
        read_training(store, "0" * 64)
