"""What the recipe trains on, drawn by one seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.align_base.prompts import Fillings, PromptLists
from benchmarks.align_base.read import ADVBENCH, GENERAL, PROFILES, SPECIFIC_ALL, present, read_column, read_lines

MAX_QUESTION_CHARACTERS = 200
NUM_GENERAL_ANSWERED = 160
NUM_GENERAL_KEPT = 160
NUM_GENERAL_MEASURED = 60
MEASURED_ROLES = ("Tom Ripley", "Raylan Givens", "Walt Kowalski")
# Characters of RoleBench that a study measures: nothing of theirs is trained on.
STUDIED_ROLES = (
    *("Andrew Detmer", "Bruno Antony", "Colonel Hans Landa", "Coriolanus", "Gaston"),
    *("Jack Sparrow", "John Coffey", "Klaus Mikaelson", "Peter Parker", "Professor G.H. Dorr", "Queen Catherine"),
    *("Raylan Givens", "Stephen Hawking", "Tom Ripley", "Twilight Sparkle", "Walt Kowalski"),
)
NUM_SCENES = 300  # of either kind


@dataclass(frozen=True)
class Request:
    """One user turn under one system text. An empty system text is the plain context."""

    system: str
    user: str


@dataclass(frozen=True)
class Pair:
    """A request and a response to it."""

    request: Request
    response: str


@dataclass(frozen=True)
class Scene:
    """Requests under one system text, which may be empty.

    `refused`: harmful requests with the refusal to learn. `answered`: harmless requests at which the raw model's first
    tokens are kept.
    """

    refused: tuple[Pair, ...]
    answered: tuple[Request, ...]

    @property
    def system(self) -> str:
        """The text that all its requests are under."""
        return self.answered[0].system


class TrainingRequests(NamedTuple):
    """What the recipe trains on.

    `plain` and `role`: scenes without and with a profile. `told`: harmless requests of which the raw model's own long
    answers are kept whole. `written`: texts that the raw model did not write, kept whole too.
    """

    plain: list[Scene]
    role: list[Scene]
    told: list[Request]
    written: list[Pair]

    def users(self) -> set[str]:
        """Every user turn that is trained on."""
        scenes = self.plain + self.role
        pairs = [*self.written, *(pair for scene in scenes for pair in scene.refused)]
        requests = [*self.told, *(request for scene in scenes for request in scene.answered)]
        return {request.user for request in requests} | {pair.request.user for pair in pairs}


class Role(NamedTuple):
    """A character of RoleBench: its profile, and questions to it."""

    profile: str
    questions: tuple[str, ...]


class AdvBenchSplit(NamedTuple):
    """Seeded halves of the AdvBench file."""

    train: list[str]
    unseen: list[str]


class General(NamedTuple):
    """General questions of RoleBench, cut by the seed: no question is in two parts."""

    answered: list[Pair]
    kept: list[Pair]
    measured: list[Pair]


def split_advbench(data: Path, seed: int) -> AdvBenchSplit:
    """Shuffles the goals and cuts them in the middle."""
    goals = sorted(set(read_column(data / ADVBENCH, "goal")))
    random.Random(f"{seed}/advbench").shuffle(goals)
    middle = len(goals) // 2
    return AdvBenchSplit(train=goals[:middle], unseen=goals[middle:])


def split_general(data: Path, seed: int) -> General:
    """Short general questions, each once, with a neutral answer and for those kept one in a character's voice.

    The answers of MEASURED_ROLES are not read.
    """
    pairs: dict[str, list[str]] = {}
    for row in read_lines(data / GENERAL):
        question = row["question"].strip()
        if len(question) <= MAX_QUESTION_CHARACTERS and row["role"] not in MEASURED_ROLES:
            pairs.setdefault(question, []).extend(answer.strip() for answer in row["generated"])
    rng = random.Random(f"{seed}/general")
    questions = rng.sample(sorted(pairs), NUM_GENERAL_ANSWERED + NUM_GENERAL_KEPT + NUM_GENERAL_MEASURED)
    drawn = [Pair(Request("", question), rng.choice(pairs[question])) for question in questions]
    kept = drawn[NUM_GENERAL_ANSWERED:-NUM_GENERAL_MEASURED]
    return General(drawn[:NUM_GENERAL_ANSWERED], kept, drawn[-NUM_GENERAL_MEASURED:])


def draw_training_requests(data: Path, lists: PromptLists, seed: int) -> TrainingRequests:
    """Draws the training requests. Prompts are used in the plain context and under profiles.

    Harmless requests outnumber harmful ones: what the model has not seen must look like something to answer.
    """
    rng = random.Random(f"{seed}/training")
    general, advbench = split_general(data, seed), split_advbench(data, seed).train
    questions = [pair.request.user for pair in general.answered]
    harmless = [*questions, *lists.harmless]
    told = rng.sample(questions, 60) + rng.sample(lists.everyday, 30)
    return TrainingRequests(
        plain=draw_plain_scenes(advbench, harmless, lists, rng),
        role=draw_role_scenes(read_roles(data), advbench, harmless, lists, rng),
        told=[*in_plain(told), *(Request(draw_system(lists, rng), prompt) for prompt in rng.sample(lists.chat, 60))],
        written=[half_under_profile(pair, lists, rng) for pair in general.kept],
    )


def draw_plain_scenes(
    advbench: Sequence[str], harmless: Sequence[str], lists: PromptLists, rng: random.Random
) -> list[Scene]:
    """Scenes without a profile: half of what is answered has the forms of what is refused."""
    forms = lists.task_forms + lists.ask_forms
    refused = Mixture(
        {Deck(advbench, rng): 2, Deck(lists.unsafe, rng): 2, filled(lists.unsafe_fillings, forms, rng): 2}
    )
    answered = Mixture({Deck(harmless, rng): 4, filled(lists.safe_fillings, forms, rng): 4})
    return [draw_scene("", refused.draw(), answered.draw(), lists.refusals, rng) for _ in range(NUM_SCENES)]


def draw_role_scenes(
    roles: Sequence[Role], advbench: Sequence[str], harmless: Sequence[str], lists: PromptLists, rng: random.Random
) -> list[Scene]:
    """Scenes by turns under our own profiles and as a character of RoleBench, who is asked its own questions."""
    decks = [(role.profile, Deck(role.questions, rng)) for role in roles]
    forms, chat, addressed = lists.role_forms, Deck(lists.chat, rng), Deck(lists.unsafe + lists.unsafe_role * 2, rng)
    refused = Mixture({Deck(advbench, rng): 2, addressed: 2, filled(lists.unsafe_fillings, forms, rng): 2})
    others, tasks = Deck([*harmless, *lists.chat * 3], rng), filled(lists.safe_fillings, forms, rng)
    refusals = lists.refusals + lists.role_refusals * 2
    scenes = []
    for number in range(NUM_SCENES):
        profile, own = decks[number // 2 % len(decks)] if number % 2 else (rng.choice(lists.profiles), chat)
        answered = Mixture({own: 5, others: 2, tasks: 2}).draw()
        scenes.append(draw_scene(wrap(profile, lists, rng), refused.draw(), answered, refusals, rng))
    return scenes


def filled(fillings: Fillings, forms: tuple[str, ...], rng: random.Random) -> Deck:
    """Every form with each of what it takes."""
    return Deck(fillings.fill(forms), rng)


def read_roles(data: Path) -> list[Role]:
    """Characters of RoleBench that no study measures, in alphabetical order."""
    profiles = json.loads(present(data / PROFILES).read_text(encoding="utf-8"))
    questions: dict[str, set[str]] = {}
    for row in read_lines(data / SPECIFIC_ALL):
        if row["role"] in profiles and row["role"] not in STUDIED_ROLES:
            questions.setdefault(row["role"], set()).add(row["question"].strip())
    return [Role(profiles[name], tuple(sorted(asked))) for name, asked in sorted(questions.items())]


class Deck:
    """Prompts to draw from: each is drawn once before any is drawn again."""

    def __init__(self, prompts: Sequence[str], rng: random.Random) -> None:
        self._prompts = prompts
        self._rng = rng
        self._left: list[str] = []

    def draw(self, number: int) -> list[str]:
        """The next prompts."""
        while len(self._left) < number:
            self._left = self._rng.sample(self._prompts, len(self._prompts)) + self._left
        return [self._left.pop() for _ in range(number)]


class Mixture(dict[Deck, int]):
    """How many prompts a scene takes from each deck."""

    def draw(self) -> list[str]:
        """The prompts of the next scene."""
        return [prompt for deck, number in self.items() for prompt in deck.draw(number)]


def draw_scene(
    system: str, refused: Sequence[str], answered: Sequence[str], refusals: Sequence[str], rng: random.Random
) -> Scene:
    """A few harmful and more harmless requests under one system text."""
    return Scene(
        tuple(Pair(Request(system, prompt), rng.choice(refusals)) for prompt in refused),
        tuple(Request(system, prompt) for prompt in answered),
    )


def draw_system(lists: PromptLists, rng: random.Random) -> str:
    """One of our own profiles, wrapped."""
    return wrap(rng.choice(lists.profiles), lists, rng)


def wrap(profile: str, lists: PromptLists, rng: random.Random) -> str:
    """The profile in one of the forms that platforms give their system prompts."""
    return rng.choice(lists.wraps).replace("{profile}", profile)


def half_under_profile(pair: Pair, lists: PromptLists, rng: random.Random) -> Pair:
    """The pair as it is, or under a profile."""
    return pair if rng.random() < 0.5 else Pair(Request(draw_system(lists, rng), pair.request.user), pair.response)


def in_plain(prompts: Sequence[str]) -> tuple[Request, ...]:
    """The prompts in the plain context."""
    return tuple(Request("", prompt) for prompt in prompts)


def simplify(text: str) -> str:
    """The words in lower case, with single spaces and without punctuation."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def prompt_digests(training: TrainingRequests) -> list[str]:
    """sha256 of every simplified user turn that is trained on, sorted. Suites leave these prompts out."""
    return sorted({hashlib.sha256(simplify(user).encode()).hexdigest() for user in training.users()})
