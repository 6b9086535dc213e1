"""Counts the forward passes of models, and makes them slow where a test needs time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook


@dataclass
class Passes:
    """Forward passes of this process since the block began."""

    count: int = 0


@contextmanager
def counted_passes(seconds_each: float = 0.0) -> Iterator[Passes]:
    """Count a pass whenever token ids are embedded, in whatever model and thread."""
    passes = Passes()

    def count(module: nn.Module, _inputs: object) -> None:
        if isinstance(module, nn.Embedding):
            passes.count += 1
            time.sleep(seconds_each)

    hook = register_module_forward_pre_hook(count)
    try:
        yield passes
    finally:
        hook.remove()
