"""Dialogues to token ids: the responses of a request that are scored, under one system prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rolekeeper.contracts.characters import Dialogue, Message
from rolekeeper.contracts.methods import Turns
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import EncodedSample, Encoder, EncodingError
from rolekeeper.lm.turnstile import Check, Turnstile


class ScoredTurn(NamedTuple):
    """A response to score, the last of `messages`, and the position of its dialogue in the request."""

    dialogue: int
    messages: Sequence[Message]


def scored_turns(dialogues: Sequence[Dialogue], turns: Turns) -> list[ScoredTurn]:
    """Return the responses to score, dialogue by dialogue: the last one, or all that have a user turn before them."""
    return [
        ScoredTurn(index, messages)
        for index, dialogue in enumerate(dialogues)
        for messages in dialogue.up_to_responses(turns)
    ]


def encode_turns(
    encoder: Encoder, system: str, turns: Sequence[ScoredTurn], tokenizers: Turnstile, check: Check
) -> list[EncodedSample]:
    """Encode responses under a system prompt, each in a turn of its own at `tokenizers`.

    Raises InvalidInput that points at every dialogue that can't be encoded.
    """
    samples: list[EncodedSample] = []
    problems: dict[int, str] = {}
    for turn in turns:
        try:
            with tokenizers.turn(check):
                samples.append(encoder.encode(system, turn.messages))
        except EncodingError as error:
            problems.setdefault(turn.dialogue, error.message)
    if problems:
        num_dialogues = 1 + turns[-1].dialogue
        raise InvalidInput(
            f"{len(problems)} of {num_dialogues} dialogues can't be scored", EncodingError.code, point_at(problems)
        )
    return samples


def point_at(details: Mapping[int, str]) -> list[ErrorItem]:
    """Return an error item for each dialogue of the request, by its position."""
    return [ErrorItem(pointer=f"/dialogues/{index}", detail=detail) for index, detail in details.items()]
