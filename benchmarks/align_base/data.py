"""What the recipe trains on and what it measures with, drawn by one seed."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.align_base.prompts import PromptLists
from rolekeeper.errors import InvalidInput

ADVBENCH = "advbench/harmful_behaviors.csv"
XSTEST = "xstest/xstest_prompts.csv"
JAILBREAKBENCH_HARMFUL = "jailbreakbench/harmful-behaviors.csv"
JAILBREAKBENCH_BENIGN = "jailbreakbench/benign-behaviors.csv"
GENERAL = "rolebench/role-generalization__general__test.jsonl"
SPECIFIC = "rolebench/role-generalization__role_specific__test.jsonl"
PROFILES = "sarft_roles/desc.json"
INPUTS = (ADVBENCH, XSTEST, JAILBREAKBENCH_HARMFUL, JAILBREAKBENCH_BENIGN, GENERAL, SPECIFIC, PROFILES)
MAX_QUESTION_CHARACTERS = 200
NUM_GENERAL_ANSWERED = 160
NUM_GENERAL_KEPT = 160
NUM_GENERAL_MEASURED = 60
MEASURED_ROLES = ("Tom Ripley", "Raylan Givens", "Walt Kowalski")
NUM_ROLE_QUESTIONS = 50
NUM_ROLE_SCENES = 160
SCENE_REFUSED = 3
SCENE_ANSWERED = 6


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
    """Requests under one system text.

    `refused`: harmful requests with the refusal to learn. `answered`: harmless requests at which the raw model's first
    tokens are kept.
    """

    refused: tuple[Pair, ...]
    answered: tuple[Request, ...]


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


@dataclass(frozen=True)
class Suite:
    """A named list of requests to measure with."""

    name: str
    is_harmful: bool
    requests: tuple[Request, ...]


class AdvBenchSplit(NamedTuple):
    """Seeded halves of the AdvBench file."""

    train: list[str]
    unseen: list[str]


class General(NamedTuple):
    """General questions of RoleBench, cut by the seed: no question is in two parts."""

    answered: list[Pair]
    kept: list[Pair]
    measured: list[Pair]


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_column(path: Path, column: str) -> list[str]:
    """One column of a CSV file. Raises InvalidInput when the file or the column is absent."""
    return [row[column] for row in read_table(path, column)]


def read_table(path: Path, *columns: str) -> list[dict[str, str]]:
    """Rows of a CSV file that has all the columns. Raises InvalidInput when it has not."""
    with present(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise InvalidInput(f"{path} has no column {sorted(missing)}: give the upstream file, header included")
        return list(reader)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Objects of a JSONL file. Raises InvalidInput when it is absent."""
    with present(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def present(path: Path) -> Path:
    """The path. Raises InvalidInput when there is no such file."""
    if not path.is_file():
        raise InvalidInput(f"{path} is absent: give --data the folder that holds {', '.join(INPUTS)}")
    return path


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
    general = split_general(data, seed)
    harmful = [*split_advbench(data, seed).train, *lists.unsafe]
    questions = [pair.request.user for pair in general.answered]
    harmless = [*questions, *lists.harmless]
    plain = Deck(harmful, rng), Deck(harmless, rng)
    role = Deck(harmful, rng), Deck([*harmless, *lists.chat * 3], rng)
    told = rng.sample(questions, 60) + rng.sample(lists.everyday, 30)
    return TrainingRequests(
        plain=[draw_scene("", *plain, lists.refusals, rng) for _ in range(len(harmless) // SCENE_ANSWERED)],
        role=[
            draw_scene(draw_system(lists, rng), *role, lists.refusals + lists.role_refusals * 2, rng)
            for _ in range(NUM_ROLE_SCENES)
        ],
        told=[*in_plain(told), *(Request(draw_system(lists, rng), prompt) for prompt in rng.sample(lists.chat, 60))],
        written=[half_under_profile(pair, lists, rng) for pair in general.kept],
    )


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


def draw_scene(system: str, harmful: Deck, harmless: Deck, refusals: Sequence[str], rng: random.Random) -> Scene:
    """A few harmful and more harmless requests under one system text."""
    return Scene(
        tuple(Pair(Request(system, prompt), rng.choice(refusals)) for prompt in harmful.draw(SCENE_REFUSED)),
        tuple(Request(system, prompt) for prompt in harmless.draw(SCENE_ANSWERED)),
    )


def draw_system(lists: PromptLists, rng: random.Random) -> str:
    """A profile in one of the forms that platforms give their system prompts."""
    return rng.choice(lists.wraps).replace("{profile}", rng.choice(lists.profiles))


def half_under_profile(pair: Pair, lists: PromptLists, rng: random.Random) -> Pair:
    """The pair as it is, or under a profile."""
    return pair if rng.random() < 0.5 else Pair(Request(draw_system(lists, rng), pair.request.user), pair.response)


def draw_suites(data: Path, lists: PromptLists, seed: int) -> list[Suite]:
    """Draws what is measured: none of these requests is trained on."""
    rng = random.Random(f"{seed}/suites")
    halves = split_advbench(data, seed)
    unseen = halves.unseen
    # A part of JailbreakBench is AdvBench.
    goals = [goal for goal in read_column(data / JAILBREAKBENCH_HARMFUL, "Goal") if goal not in halves.train]
    xstest = read_table(data / XSTEST, "prompt", "label")
    by_label = {label: [row["prompt"] for row in xstest if row["label"] == label] for label in ("safe", "unsafe")}
    in_role = tuple(Request(rng.choice(lists.profiles_unseen), prompt) for prompt in unseen)
    chat = tuple(Request(profile, prompt) for profile in lists.profiles_unseen for prompt in lists.small_talk_unseen)
    return [
        Suite("advbench_unseen", True, in_plain(unseen)),
        Suite("advbench_unseen_in_role", True, in_role),
        Suite("xstest_unsafe", True, in_plain(by_label["unsafe"])),
        Suite("xstest_safe", False, in_plain(by_label["safe"])),
        Suite("jailbreakbench_harmful", True, in_plain(goals)),
        Suite("jailbreakbench_benign", False, in_plain(read_column(data / JAILBREAKBENCH_BENIGN, "Goal"))),
        Suite("role_chat_unseen", False, chat),
        Suite("rolebench_in_role", False, tuple(pair.request for pair in draw_role_pairs(data, seed))),
    ]


def draw_role_pairs(data: Path, seed: int) -> list[Pair]:
    """Questions to MEASURED_ROLES under their profiles, with the character's answer. None is trained on."""
    profiles = json.loads(present(data / PROFILES).read_text(encoding="utf-8"))
    rows = read_lines(data / SPECIFIC)
    rng, drawn = random.Random(f"{seed}/roles"), []
    for role in MEASURED_ROLES:
        answers = {row["question"].strip(): row["generated"][0].strip() for row in rows if row["role"] == role}
        drawn += [Pair(Request(profiles[role], q), answers[q]) for q in rng.sample(sorted(answers), NUM_ROLE_QUESTIONS)]
    return drawn


def in_plain(prompts: Sequence[str]) -> tuple[Request, ...]:
    """The prompts in the plain context."""
    return tuple(Request("", prompt) for prompt in prompts)


def find_leaks(training: TrainingRequests, suites: Sequence[Suite]) -> list[str]:
    """User turns that are both trained on and measured with, letter case and end marks aside."""
    trained = {simplify(user) for user in training.users()}
    measured = {request.user for suite in suites for request in suite.requests}
    return sorted(user for user in measured if simplify(user) in trained)


def simplify(text: str) -> str:
    """The words in lower case, with single spaces and without punctuation."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def prompt_digests(training: TrainingRequests) -> list[str]:
    """sha256 of every simplified user turn that is trained on, sorted. Suites leave these prompts out."""
    return sorted({hashlib.sha256(simplify(user).encode()).hexdigest() for user in training.users()})
