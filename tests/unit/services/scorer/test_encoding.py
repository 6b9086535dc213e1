from __future__ import annotations

import pytest

from rolekeeper.contracts.characters import Dialogue, Message
from services.scorer.encoding import scored_turns

ROLES = {"s": "system", "u": "user", "a": "assistant"}


def dialogue(roles: str) -> Dialogue:
    messages = [{"role": ROLES[role], "content": f"turn {index}"} for index, role in enumerate(roles)]
    return Dialogue(messages=tuple(Message.model_validate(message) for message in messages))


@pytest.mark.parametrize(
    ("roles", "ends"),
    [("ua", [2]), ("uaua", [2, 4]), ("auaua", [3, 5]), ("suaa", [3, 4]), ("aua", [3]), ("uau", [2, 3]), ("a", [1])],
)
def test_all_turns_that_follow_a_user_turn(roles: str, ends: list[int]) -> None:
    """The whole dialogue is always there: if it can't be scored, the encoder says why."""
    assert [len(turn.messages) for turn in scored_turns([dialogue(roles)], "all")] == ends


def test_the_last_turn_of_each_dialogue() -> None:
    turns = scored_turns([dialogue("ua"), dialogue("auaua")], "last")
    assert [(turn.dialogue, len(turn.messages)) for turn in turns] == [(0, 2), (1, 5)]
