"""The characters of the study: RoleBench's roles and the example, each question once, split by the plan's seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from benchmarks.reproduce.plan import Plan
from benchmarks.scoring.rolebench import read_profiles, read_rows
from rolekeeper.client.commands import read_profile
from rolekeeper.contracts.characters import Dialogue, Message, RoleProfile
from rolekeeper.errors import InvalidInput

ROLEBENCH = (
    "rolebench/role-generalization__role_specific__test.jsonl",
    "rolebench/instruction-generalization__role_specific__test.jsonl",
)
PROFILES = "sarft_roles/desc.json"
EXAMPLE = Path("examples")


class Answered(NamedTuple):
    """A dialogue that ends with the first of the character's own answers; all of them may be compared with."""

    dialogue: Dialogue
    references: tuple[str, ...]


class Cast(NamedTuple):
    """A character with the dialogues to train on and those that are kept from it. `digest` is that of all of it."""

    profile: RoleProfile
    training: tuple[Dialogue, ...]
    held_out: tuple[Answered, ...]
    digest: str


def read_cast(plan: Plan, name: str, data: Path) -> Cast:
    """Read a character and split its dialogues. The seeds of the study do not move the split.

    Raises InvalidInput where there is no such role or it has too few dialogues.
    """
    is_example = plan.characters[name].example
    profile = read_profile(EXAMPLE / "character.json") if is_example else _role_profile(name, data)
    found = distinct(_example() if is_example else _role_dialogues(name, data))
    if len(found) < 10:
        raise InvalidInput(f"{name} has {len(found)} dialogues in {data}; at least 10 are needed")
    random.Random(f"{plan.draw_seed}/{name}").shuffle(found)
    num_held_out = min(plan.num_held_out, round(plan.held_out_share * len(found)))
    training = tuple(each.dialogue for each in found[num_held_out:][: plan.num_training])
    held_out = tuple(found[:num_held_out])
    return Cast(profile, training, held_out, _digest(profile, training, held_out))


def distinct(answered: Iterator[Answered]) -> list[Answered]:
    """Each question once: an answer that training saw would be no test."""
    first: dict[str, Answered] = {}
    for each in answered:
        question = " ".join(each.dialogue.messages[-2].content.casefold().split())
        first.setdefault(question, each)
    return list(first.values())


def without_instruction(profiles: Mapping[str, str]) -> dict[str, str]:
    """Return the profiles without the words that all of them end with: the product gives its own instruction."""
    reversed_words = [profile.split()[::-1] for profile in profiles.values()]
    shared = takewhile(lambda words: len(set(words)) == 1, zip(*reversed_words, strict=False))
    count = sum(1 for _ in shared) if len(profiles) > 1 else 0
    return {name: profile.rstrip().rsplit(maxsplit=count)[0] for name, profile in profiles.items()}


def _example() -> Iterator[Answered]:
    for line in (EXAMPLE / "dialogues.jsonl").read_text("utf-8").splitlines():
        dialogue = Dialogue.model_validate_json(line)
        yield Answered(dialogue, (dialogue.messages[-1].content,))


def _role_profile(name: str, data: Path) -> RoleProfile:
    profiles = without_instruction(read_profiles(data / PROFILES))
    if name not in profiles:
        raise InvalidInput(f"{data / PROFILES} has no profile of {name}")
    return RoleProfile(name=name, profile=profiles[name])


def _role_dialogues(name: str, data: Path) -> Iterator[Answered]:
    for file in ROLEBENCH:
        for role, pairs in read_rows(data / file):
            answers = tuple(pair.response.strip() for pair in pairs if pair.response.strip())
            question = pairs[0].question.strip() if role == name and answers else ""
            if question:
                yield Answered(_dialogue(question, answers[0]), answers)


def _dialogue(question: str, answer: str) -> Dialogue:
    return Dialogue(messages=(Message(role="user", content=question), Message(role="assistant", content=answer)))


def _digest(profile: RoleProfile, training: Sequence[Dialogue], held_out: Sequence[Answered]) -> str:
    parts = [profile.model_dump_json(), *(each.model_dump_json() for each in training)]
    parts += [json.dumps([each.dialogue.model_dump_json(), each.references]) for each in held_out]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
