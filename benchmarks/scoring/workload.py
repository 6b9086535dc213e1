"""What is scored: samples under the contexts of one character or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import EncodedSample, Encoder, Turn
from rolekeeper.method.prompts import ScoredContexts


class Pair(NamedTuple):
    """A question and its response, as text."""

    question: str
    response: str


class Character(NamedTuple):
    """Samples of one character under the role side, the unsafe and the plain prompt: the same order in each."""

    role: tuple[EncodedSample, ...]
    unsafe: tuple[EncodedSample, ...]
    plain: tuple[EncodedSample, ...]


class Workload(NamedTuple):
    """All that one case scores."""

    characters: tuple[Character, ...]

    @property
    def contexts(self) -> list[tuple[EncodedSample, ...]]:
        """Samples of each context of each character."""
        return [context for character in self.characters for context in character]

    @property
    def requests(self) -> list[EncodedSample]:
        """Samples of all contexts, one after another: the order in which a scorer returns its sums."""
        return [sample for context in self.contexts for sample in context]

    @property
    def num_samples(self) -> int:
        """Samples, each counted once for its three contexts."""
        return sum(len(character.role) for character in self.characters)


Scorer = Callable[[Sequence[EncodedSample]], list[float]]
"""Returns the log-prob of each response, summed over its tokens, in the order given."""


def encode_character(encoder: Encoder, contexts: ScoredContexts, pairs: Sequence[Pair]) -> Character:
    """Encode the pairs under the three system prompts. Raises EncodingError."""
    turns = [(Turn("user", pair.question), Turn("assistant", pair.response)) for pair in pairs]
    return Character(*(tuple(encoder.encode(system, pair) for pair in turns) for system in contexts))


def slice_by_length(requests: Sequence[EncodedSample], block: int, count: int) -> list[EncodedSample]:
    """At most `count` blocks of `block` requests that follow each other when sorted by length, spread over all lengths.

    Padding is then what it is in the whole, for every batch size that divides `block`.
    """
    ordered = sorted(requests, key=num_tokens, reverse=True)
    blocks = [ordered[start : start + block] for start in range(0, len(ordered), block)]
    return [request for chosen in blocks[:: -(-len(blocks) // count)] for request in chosen]


def num_tokens(sample: EncodedSample) -> int:
    """Tokens of prompt and response."""
    return len(sample.prompt_ids) + len(sample.response_ids)


def check_agreement(peer: str, theirs: Sequence[float], ours: Sequence[float], workload: Workload) -> None:
    """Raise Disagreement unless the sums are within 1e-3 of each other, and their means over tokens within 1e-4."""
    for index, (their_sum, our_sum, sample) in enumerate(zip(theirs, ours, workload.requests, strict=True)):
        difference = abs(their_sum - our_sum)
        # Written so that NaN disagrees too.
        if not (difference <= 1e-3 * abs(our_sum) and difference <= 1e-4 * len(sample.response_ids)):
            raise Disagreement(
                f"request {index} of {len(ours)}: {peer} gives {their_sum:.6f} and Rolekeeper {our_sum:.6f} for "
                f"{len(sample.response_ids)} tokens; a ratio of times would compare different work"
            )


class Disagreement(InvalidInput):
    """Two ways to score give different sums for the same ids."""

    code = "disagreement"
