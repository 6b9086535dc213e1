"""The manifest of an adapter, or of a whole model: how its training went, as the training itself wrote it down."""

from __future__ import annotations

import json
import tarfile

from pydantic import ValidationError

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.training import TrainingRecord
from rolekeeper.errors import StageFailed

_MANIFEST = "MANIFEST.json"


def read_training(store: Store, adapter_sha256: str) -> TrainingRecord:
    """Return the record of a training from the tar that it made.

    Raises:
        NotFound: the store has no such artifact.
        StageFailed: it has no manifest that can be read.
    """
    path = store.path(adapter_sha256)
    try:
        with tarfile.open(path) as tar:
            member = tar.extractfile(_MANIFEST)
            training = json.load(member)["training"] if member else {}
        # The manifest says more about the training than the report does.
        return TrainingRecord.model_validate(
            {name: training[name] for name in TrainingRecord.model_fields if name in training}
        )
    except (tarfile.TarError, ValidationError, KeyError, TypeError, ValueError) as error:
        raise StageFailed(
            f"the adapter with sha256 {adapter_sha256} has no {_MANIFEST} that can be read ({error}): train it again",
            code="bad_adapter",
        ) from error
