"""Checkpoints that a kill at any instant can't spoil: safetensors and JSON, with a manifest, published whole.

Only what the adapter depends on is kept (weights, moments, losses). The order of the data comes from the seed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.trainer.program.durable import publish_folder, remove, scratch_folder, sha256_of, write_json
from services.trainer.program.failures import Stopped
from services.trainer.program.world import ALONE, World

KEPT = 2
FORMAT = 1
_PREFIX = "ckpt-"
_MANIFEST = "MANIFEST.json"
_TENSORS = "state.safetensors"
_HISTORY = "history.json"


class Checkpoint(NamedTuple):
    """A run after `len(losses)` steps."""

    losses: tuple[float, ...]
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one run in its folder. `run_digest` names everything that the run depends on.

    Where several processes train together, the leader decides and writes, and all read. `wants_stop` is asked after
    every step whether the run is to be set aside.
    """

    def __init__(
        self,
        folder: Path,
        run_digest: str,
        least_seconds: float,
        world: World = ALONE,
        wants_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder = folder
        self._run_digest = run_digest
        self._least_seconds = least_seconds
        self._world = world
        self._wants_stop = wants_stop
        self._saved_at = time.monotonic()

    def restore(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole and of this run. Newer ones that are not are removed."""
        found = self._world.agree(self._newest_whole() if self._world.leads else None)
        if found is None:
            return None
        losses = json.loads((found / _HISTORY).read_text("utf-8"))["losses"]
        return Checkpoint(tuple(losses), load_file(found / _TENSORS))

    def _newest_whole(self) -> Path | None:
        for folder in self._newest_first():
            damage = self._damage(folder)
            if damage is None:
                return folder
            structlog.get_logger().warning("checkpoint left out", checkpoint=folder.name, reason=damage)
            remove(folder)
        return None

    def offer(self, losses: Sequence[float], state: Callable[[], Mapping[str, Tensor]]) -> None:
        """Save a checkpoint, unless the last one is younger than the spec wants.

        Raises Stopped, with a checkpoint saved, once the run is asked to stop.
        """
        is_due = time.monotonic() - self._saved_at >= self._least_seconds
        is_stopping, is_due = self._world.agree((self._wants_stop(), is_due))
        if is_stopping or is_due:
            tensors = state()
            if self._world.leads:
                self._save(losses, tensors)
            self._saved_at = time.monotonic()
        if is_stopping:
            raise Stopped(f"stopped after step {len(losses)}, with a checkpoint")

    def clear(self) -> None:
        """Remove all checkpoints: the run has its result."""
        for folder in self._newest_first():
            remove(folder)

    def _save(self, losses: Sequence[float], tensors: Mapping[str, Tensor]) -> None:
        with scratch_folder(self._folder) as scratch:
            save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, scratch / _TENSORS)
            write_json(scratch / _HISTORY, {"losses": list(losses)})
            write_json(scratch / _MANIFEST, self._manifest(scratch, len(losses)))
            publish_folder(scratch, self._folder / f"{_PREFIX}{len(losses)}")
        for old in self._newest_first()[KEPT:]:
            remove(old)

    def _manifest(self, folder: Path, step: int) -> dict[str, Any]:
        files = {
            name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
            for name in (_HISTORY, _TENSORS)
        }
        return {"format": FORMAT, "run_digest": self._run_digest, "step": step, "files": files}

    def _damage(self, folder: Path) -> str | None:
        """Say why the checkpoint can't be used; None if it can."""
        try:
            manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
            step = int(folder.name.removeprefix(_PREFIX))
            if manifest["run_digest"] != self._run_digest:
                return "it belongs to another run"
            if manifest != self._manifest(folder, step):
                return "its files are not those of its manifest"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return f"its manifest can't be read: {error}"
        return None

    def _newest_first(self) -> list[Path]:
        folders = [path for path in self._folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]
        return sorted(folders, key=lambda path: int(path.name.removeprefix(_PREFIX)), reverse=True)


def run_digest(spec_digest: str, base_digest: str) -> str:
    """Name a run by its spec and by the very weights that its base model has."""
    return hashlib.sha256(f"{spec_digest} {base_digest}".encode()).hexdigest()
