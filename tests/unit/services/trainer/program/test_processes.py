from __future__ import annotations

import pytest

from rolekeeper.contracts.training import ExitCode
from services.trainer.program.processes import blame


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([13, 20], ExitCode.DIVERGED),
        ([20, 12], ExitCode.OUT_OF_MEMORY),
        ([75, 20], ExitCode.STOPPED),
        ([-9, 75], ExitCode.INFRASTRUCTURE),
        ([1], ExitCode.INFRASTRUCTURE),
    ],
)
def test_who_says_what_is_wrong_is_to_blame(statuses: list[int], code: ExitCode) -> None:
    assert blame(statuses) is code
