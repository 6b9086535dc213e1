"""Which dialogues are kept from training, to measure role fidelity on them."""

from __future__ import annotations

import hashlib
import random
from array import array
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from rolekeeper.contracts.characters import Dialogue

MIN_DIALOGUES = 10
MAX_HELD_OUT = 40


class Questions(NamedTuple):
    """What the split depends on: how many dialogues there are, and those that end with the same question.

    A group is the indices of its dialogues. Only those are here where each has a user turn right before its response.
    """

    num_dialogues: int
    groups: tuple[array[int], ...]


def read_questions(dialogues: Iterable[Dialogue]) -> Questions:
    """Group dialogues by their last question. One of them is looked at after the other, and none is kept."""
    # Digests, since there may be 100,000 questions.
    groups: defaultdict[bytes, array[int]] = defaultdict(lambda: array("L"))
    unanswerable: set[bytes] = set()
    count = 0
    for index, dialogue in enumerate(dialogues):
        question = hashlib.sha256(_last_question(dialogue).encode("utf-8", "surrogatepass")).digest()
        groups[question].append(index)
        if not _is_answerable(dialogue):
            unanswerable.add(question)
        count += 1
    return Questions(count, tuple(group for question, group in groups.items() if question not in unanswerable))


def split_held_out(questions: Questions, share: float, seed: int) -> frozenset[int]:
    """Return the indices of the held-out dialogues; all others are for training.

    About `share` of them, but at least 1 and at most 40, and never more than half. Dialogues that end with the same
    question stay on one side: an answer that training saw would be no test. A dialogue is only held out if a user turn
    comes right before its response. None are held out if `share` is 0, of fewer than 10 dialogues, or if questions
    repeat so much that it would cost more than half of the dialogues. The same arguments always give the same split.
    """
    num_dialogues = questions.num_dialogues
    if share <= 0 or num_dialogues < MIN_DIALOGUES:
        return frozenset()
    groups = list(questions.groups)
    random.Random(f"held-out {seed}").shuffle(groups)
    most = min(MAX_HELD_OUT, num_dialogues // 2)
    wanted = min(most, max(1, round(share * num_dialogues)))
    held_out: set[int] = set()
    for group in groups:
        if len(held_out) + len(group) <= wanted:
            held_out.update(group)
    if not held_out and groups:
        # Every question repeats more often than `wanted`: take the one that repeats least.
        smallest = min(groups, key=len)
        held_out.update(smallest if len(smallest) <= most else ())
    return frozenset(held_out)


def _last_question(dialogue: Dialogue) -> str:
    questions = [message.content for message in dialogue.messages[:-1] if message.role == "user"]
    return " ".join(questions[-1].casefold().split()) if questions else ""


def _is_answerable(dialogue: Dialogue) -> bool:
    return len(dialogue.messages) >= 2 and dialogue.messages[-2].role == "user"
