from __future__ import annotations

import pytest
import torch

from rolekeeper.contracts.training import ExitCode
from rolekeeper.errors import Conflict, UnknownBaseModel
from rolekeeper.lm.catalog import BadCatalog
from rolekeeper.lm.encode import EncodingError
from rolekeeper.lm.forward import UnknownProjection
from rolekeeper.lm.load import BaseModelUnusable
from services.trainer.program.failures import BadData, BadSpec, Diverged, FolderTaken, Stopped, describe


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (BadSpec("x"), ExitCode.BAD_SPEC),
        (BadData("x"), ExitCode.BAD_DATA),
        (Diverged("x"), ExitCode.DIVERGED),
        (UnknownBaseModel("x"), ExitCode.BASE_MODEL),
        (BadCatalog("x"), ExitCode.BASE_MODEL),
        (BaseModelUnusable("x"), ExitCode.BASE_MODEL),
        (UnknownProjection("x"), ExitCode.BASE_MODEL),
        (EncodingError("x"), ExitCode.BASE_MODEL),
        (FolderTaken("x"), ExitCode.INFRASTRUCTURE),
        (Stopped("x"), ExitCode.STOPPED),
        (Conflict("x"), ExitCode.INFRASTRUCTURE),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, exit_code: ExitCode) -> None:
    assert describe(error) == (exit_code, "x")


def test_what_nobody_foresaw_may_be_tried_again() -> None:
    assert describe(KeyError("x")) == (ExitCode.INFRASTRUCTURE, "KeyError: 'x'")


def test_memory_that_the_cpu_refuses_says_what_to_lower() -> None:
    with pytest.raises(RuntimeError) as refused:
        torch.empty(1 << 60)
    failure = describe(refused.value)
    assert failure.exit_code is ExitCode.OUT_OF_MEMORY
    assert "lower max_source_tokens" in failure.message


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_memory_that_others_refuse_counts_too(error: Exception) -> None:
    assert describe(error).exit_code is ExitCode.OUT_OF_MEMORY


def test_another_runtime_error_is_not_taken_for_lack_of_memory() -> None:
    assert describe(RuntimeError("size mismatch")).exit_code is ExitCode.INFRASTRUCTURE
