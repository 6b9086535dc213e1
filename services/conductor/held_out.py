"""Which dialogues are kept from training, to measure role fidelity on them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from rolekeeper.contracts.characters import Dialogue

MIN_DIALOGUES = 10
MAX_HELD_OUT = 40


def split_held_out(dialogues: Sequence[Dialogue], share: float, seed: int) -> frozenset[int]:
    """Return the indices of the held-out dialogues; all others are for training.

    About `share` of them, but at least 1 and at most 40. Dialogues that end with the same question stay on one side:
    an answer that training saw would be no test. A dialogue is only held out if a user turn comes right before
    its response. None are held out if `share` is 0, of fewer than 10 dialogues, or if questions repeat so much
    that it would cost more than half of the dialogues. The same arguments always give the same split.
    """
    if share <= 0 or len(dialogues) < MIN_DIALOGUES:
        return frozenset()
    groups = _answerable_groups(dialogues)
    random.Random(f"held-out {seed}").shuffle(groups)
    wanted = min(MAX_HELD_OUT, max(1, round(share * len(dialogues))))
    held_out: set[int] = set()
    for group in groups:
        if len(held_out) + len(group) <= wanted:
            held_out.update(group)
    if not held_out and groups:
        # Every question repeats more often than `wanted`: take the one that repeats least.
        smallest = min(groups, key=len)
        held_out.update(smallest if len(smallest) <= min(MAX_HELD_OUT, len(dialogues) // 2) else ())
    return frozenset(held_out)


def _answerable_groups(dialogues: Sequence[Dialogue]) -> list[list[int]]:
    """Indices by last question, where every dialogue of the group has it right before its response."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index, dialogue in enumerate(dialogues):
        groups[_last_question(dialogue)].append(index)
    return [group for group in groups.values() if all(_is_answerable(dialogues[index]) for index in group)]


def _last_question(dialogue: Dialogue) -> str:
    questions = [message.content for message in dialogue.messages[:-1] if message.role == "user"]
    return " ".join(questions[-1].casefold().split()) if questions else ""


def _is_answerable(dialogue: Dialogue) -> bool:
    return len(dialogue.messages) >= 2 and dialogue.messages[-2].role == "user"
