"""Real dialogues in RoleBench's format. The files stay where they are: nothing of them is copied or printed.

A line is an object with `role`, `question` and `generated`, a list of responses. Profiles are one JSON object, role to
description.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from benchmarks.scoring.synthetic import SEED
from benchmarks.scoring.workload import Pair, Workload, encode_character
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import Encoder, EncodingError, Turn
from rolekeeper.method.prompts import build_contexts
from rolekeeper.method.released import shared_ending


def read_workload(tokenizer: PreTrainedTokenizerBase, file: Path, profiles: Path, num_samples: int) -> Workload:
    """`num_samples` responses of the file: one role after another in its order, questions of a role shuffled by a seed.

    What can't be encoded is left out. Raises InvalidInput for a file that is not as described or a role that has no
    profile.
    """
    encoder = Encoder(tokenizer)
    descriptions = read_profiles(profiles)
    characters = []
    for role, pairs in _draw(encoder, file, num_samples).items():
        if role not in descriptions:
            raise InvalidInput(f"{profiles} has no profile for {role!r}, a role of {file}")
        contexts = build_contexts(role, descriptions[role]).scored
        characters.append(encode_character(encoder, contexts, pairs))
    return Workload(tuple(characters))


def _draw(encoder: Encoder, file: Path, num_samples: int) -> dict[str, list[Pair]]:
    by_role: dict[str, list[list[Pair]]] = {}
    for role, pairs in read_rows(file):
        by_role.setdefault(role, []).append([pair for pair in pairs if _is_usable(encoder, pair)])
    drawn: dict[str, list[Pair]] = {}
    left = num_samples
    for role, questions in by_role.items():
        random.Random(SEED).shuffle(questions)
        pairs = [pair for question in questions for pair in question][:left]
        if pairs:
            drawn[role] = pairs
        left -= len(pairs)
    if left:
        raise InvalidInput(f"{file} has {num_samples - left} usable responses; ask for no more with --samples")
    return drawn


def _is_usable(encoder: Encoder, pair: Pair) -> bool:
    try:
        encoder.encode("", [Turn("user", pair.question), Turn("assistant", pair.response)])
    except EncodingError:
        return False
    return True


def read_rows(file: Path) -> Iterator[tuple[str, list[Pair]]]:
    """Yield the role and the pairs of each line. Raises InvalidInput, which names the line."""
    for number, line in enumerate(_read_text(file).splitlines(), start=1):
        try:
            row = json.loads(line)
            pairs = [Pair(str(row["question"]), str(response)) for response in row["generated"]]
            yield str(row["role"]), pairs
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"{file}:{number}: not an object with role, question and generated: {error!r}"
            ) from error


def read_profiles(file: Path) -> dict[str, str]:
    """Return the description of each role, without the instruction that the released profiles all end with.

    Raises InvalidInput.
    """
    try:
        content = json.loads(_read_text(file))
    except ValueError as error:
        raise InvalidInput(f"{file}: not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise InvalidInput(f"{file}: not one JSON object that gives each role its description")
    ending = shared_ending([*content.values()]) if len(content) > 1 else ""
    return {role: text.removesuffix(ending).rstrip() for role, text in content.items()}


def _read_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} can't be read: {error}") from error
