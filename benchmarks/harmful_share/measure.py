"""Margins of one character's responses under all prompt sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.harmful_share.figures import Numbers
from benchmarks.scoring.rolebench import read_rows
from benchmarks.scoring.workload import Pair
from rolekeeper.contracts.characters import Dialogue, Message, RoleProfile
from rolekeeper.contracts.methods import PromptSetName
from rolekeeper.contracts.scores import SampleScore, ScoreRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import Encoder, EncodingError, Turn
from rolekeeper.lm.load import LoadedModel
from rolekeeper.method.released import ReleasedWording
from services.scorer.engine import Engine
from services.scorer.scoring import score_dialogues


@dataclass(frozen=True)
class Bench:
    """What all characters share."""

    loaded: LoadedModel
    engine: Engine
    wording: ReleasedWording | None
    num_answers: int
    response_tokens: int


def read_pairs(file: Path, names: Sequence[str]) -> dict[str, list[Pair]]:
    """Return the pairs of each character in the order of the file, each question once with all its responses.

    Raises InvalidInput for a character without any.
    """
    pairs: dict[str, list[Pair]] = {name: [] for name in names}
    seen: set[tuple[str, str]] = set()
    for name, row in read_rows(file):
        if name in pairs and row and (name, row[0].question) not in seen:
            seen.add((name, row[0].question))
            pairs[name] += row
    empty = [name for name, found in pairs.items() if not found]
    if empty:
        raise InvalidInput(f"{file} has no dialogue of {', '.join(empty)}")
    return pairs


def measure(bench: Bench, profile: RoleProfile, pairs: Sequence[Pair]) -> Numbers:
    """Score the first responses of a character. What two prompt sets share is computed once."""
    dialogues = tuple(_dialogue(pair) for pair in islice(_usable(bench.loaded, pairs), bench.num_answers))
    contrast, append = (score(bench, profile, dialogues, name) for name in ("contrast", "append"))
    paper = None if bench.wording is None else score(bench, profile, dialogues, "paper_v2")
    return Numbers(
        contrast=_margins(contrast),
        append=_margins(append),
        paper_v2=None if paper is None else _margins(paper),
        # S - P: what U is compared with, and the bare role prompt.
        length=tuple(round(safe.s_role - role.s_role, 6) for safe, role in zip(contrast, append, strict=True)),
    )


def score(
    bench: Bench, profile: RoleProfile, dialogues: tuple[Dialogue, ...], prompt_set: PromptSetName
) -> tuple[SampleScore, ...]:
    """Score dialogues as the scorer does it."""
    request = ScoreRequest(
        base_model=bench.loaded.entry.alias,
        profile=profile,
        dialogues=dialogues,
        prompt_set=prompt_set,
        max_response_tokens=bench.response_tokens,
    )
    return score_dialogues(bench.loaded, request, bench.engine, wording=bench.wording)


def _usable(loaded: LoadedModel, pairs: Sequence[Pair]) -> Iterable[Pair]:
    """The first response to each question that the scorer takes: an empty one is none."""
    encoder, answered = Encoder(loaded.tokenizer), set[str]()
    for pair in pairs:
        if pair.question in answered:
            continue
        try:
            encoder.encode("", [Turn("user", pair.question), Turn("assistant", pair.response)])
        except EncodingError:
            continue
        answered.add(pair.question)
        yield pair


def _dialogue(pair: Pair) -> Dialogue:
    question, response = Message(role="user", content=pair.question), Message(role="assistant", content=pair.response)
    return Dialogue(messages=(question, response))


def _margins(scores: Sequence[SampleScore]) -> tuple[float, ...]:
    return tuple(round(score.margin, 6) for score in scores)
