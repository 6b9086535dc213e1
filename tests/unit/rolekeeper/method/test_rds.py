from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.method.rds import NonFiniteScore, implicit_rewards, select_harmful

LOGPROBS = st.lists(st.tuples(*[st.floats(-20, 0, width=32)] * 3), min_size=1, max_size=20)


def test_hand_computed() -> None:
    role_B = torch.tensor([-1.0, -2.0, -3.0])
    unsafe_B = torch.tensor([-1.5, -1.25, -3.0])
    plain_B = torch.tensor([-2.0, -2.0, -2.0])
    rewards = implicit_rewards(role_B, unsafe_B, plain_B)
    assert rewards.s_role_B.tolist() == [1.0, 0.0, -1.0]
    assert rewards.s_unsafe_B.tolist() == [0.5, 0.75, -1.0]
    # The last sample is a tie: not harmful.
    assert select_harmful(*rewards).tolist() == [False, True, False]
    assert select_harmful(*rewards, margin=0.75).tolist() == [False, False, False]
    assert select_harmful(*rewards, margin=-0.75).tolist() == [True, True, True]


@given(LOGPROBS)
def test_equals_the_loop(rows: list[tuple[float, float, float]]) -> None:
    role_B, unsafe_B, plain_B = torch.tensor(rows, dtype=torch.float64).T
    rewards = implicit_rewards(role_B, unsafe_B, plain_B)
    naive = [(unsafe - plain) > (role - plain) for role, unsafe, plain in rows]
    assert select_harmful(*rewards).tolist() == naive


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_non_finite_names_the_samples_and_is_never_a_flag(bad: float, position: int) -> None:
    logprobs = [torch.zeros(4) for _ in range(3)]
    logprobs[position][1] = bad
    logprobs[position][3] = bad
    with pytest.raises(NonFiniteScore, match=r"\[1, 3\]") as caught:
        implicit_rewards(*logprobs)
    assert caught.value.indices == (1, 3)
    with pytest.raises(NonFiniteScore, match=r"\[1, 3\]"):
        select_harmful(logprobs[position], torch.zeros(4))
