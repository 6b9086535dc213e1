"""The model card inside an adapter's tar."""

from __future__ import annotations

import tarfile

from rolekeeper.artifacts.store import Store
from rolekeeper.report.card import UnreadableCard

_CARD = "README.md"


def read_card(store: Store, adapter_sha256: str) -> str:
    """Return the README of an adapter, or of a whole model. Raises NotFound and UnreadableCard."""
    path = store.path(adapter_sha256)
    try:
        with tarfile.open(path) as tar:
            member = tar.extractfile(_CARD)
            return member.read().decode() if member else ""
    except (tarfile.TarError, KeyError, UnicodeDecodeError) as error:
        raise UnreadableCard(f"the adapter with sha256 {adapter_sha256} has no {_CARD} that can be read") from error
