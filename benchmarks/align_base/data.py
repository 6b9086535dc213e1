"""What the recipe trains on and what it measures with, drawn by one seed."""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.align_base.prompts import PromptLists
from rolekeeper.errors import InvalidInput

ADVBENCH = "advbench/harmful_behaviors.csv"
XSTEST = "xstest/xstest_prompts.csv"
JAILBREAKBENCH_HARMFUL = "jailbreakbench/harmful-behaviors.csv"
JAILBREAKBENCH_BENIGN = "jailbreakbench/benign-behaviors.csv"
GENERAL = "rolebench/role-generalization__general__test.jsonl"
INPUTS = (ADVBENCH, XSTEST, JAILBREAKBENCH_HARMFUL, JAILBREAKBENCH_BENIGN, GENERAL)
MAX_QUESTION_CHARACTERS = 200
NUM_GENERAL_PLAIN = 160
NUM_GENERAL_IN_ROLE = 40


@dataclass(frozen=True)
class Request:
    """One user turn under one system text. An empty system text is the plain context."""

    system: str
    user: str


@dataclass(frozen=True)
class Pair:
    """One training pair: a request and the response to learn."""

    request: Request
    response: str


class TrainingRequests(NamedTuple):
    """Harmful requests with the refusal to learn, and benign ones that the raw model will answer."""

    refused: list[Pair]
    benign: list[Request]


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


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_column(path: Path, column: str) -> list[str]:
    """One column of a CSV file. Raises InvalidInput when the file or the column is absent."""
    return [row[column] for row in read_rows(path, column)]


def read_rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """Rows of a CSV file that has all the columns. Raises InvalidInput when it has not."""
    if not path.is_file():
        raise InvalidInput(f"{path} is absent: give --data the folder that holds {', '.join(INPUTS)}")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or ())
        if missing:
            raise InvalidInput(f"{path} has no column {sorted(missing)}: give the upstream file, header included")
        return list(reader)


def split_advbench(data: Path, seed: int) -> AdvBenchSplit:
    """Shuffles the goals and cuts them in the middle."""
    goals = sorted(set(read_column(data / ADVBENCH, "goal")))
    random.Random(f"{seed}/advbench").shuffle(goals)
    middle = len(goals) // 2
    return AdvBenchSplit(train=goals[:middle], unseen=goals[middle:])


def read_general_questions(data: Path) -> list[str]:
    """Short general questions of RoleBench, each once, sorted; the answers are not read."""
    path = data / GENERAL
    if not path.is_file():
        raise InvalidInput(f"{path} is absent: give --data the folder that holds {', '.join(INPUTS)}")
    with path.open(encoding="utf-8") as file:
        questions = {str(json.loads(line)["question"]).strip() for line in file}
    return sorted(question for question in questions if len(question) <= MAX_QUESTION_CHARACTERS)


def draw_training_requests(data: Path, lists: PromptLists, seed: int) -> TrainingRequests:
    """Draws the training requests. Every prompt is used in the plain context, a part of them also under a profile.

    Benign requests outnumber harmful ones by far: what the model has not seen must look like something to answer.
    """
    rng = random.Random(f"{seed}/training")
    harmful = [*split_advbench(data, seed).train, *lists.unsafe]
    in_role = lists.refusals + lists.role_refusals * 2
    refused = [Pair(Request("", prompt), rng.choice(lists.refusals)) for prompt in harmful]
    refused += [
        Pair(Request(rng.choice(lists.profiles), prompt), rng.choice(in_role)) for prompt in rng.sample(harmful, 90)
    ]
    general = rng.sample(read_general_questions(data), NUM_GENERAL_PLAIN + NUM_GENERAL_IN_ROLE)
    written = lists.lookalikes + lists.everyday
    benign = [Request("", prompt) for prompt in (*general[:NUM_GENERAL_PLAIN], *written)]
    under_profile = general[NUM_GENERAL_PLAIN:] + rng.sample(written, 60)
    benign += [Request(rng.choice(lists.profiles), prompt) for prompt in under_profile]
    benign += [Request(profile, prompt) for prompt in lists.small_talk for profile in rng.sample(lists.profiles, 2)]
    return TrainingRequests(refused=refused, benign=benign)


def draw_suites(data: Path, lists: PromptLists, seed: int) -> list[Suite]:
    """Draws what is measured: none of these requests is trained on."""
    rng = random.Random(f"{seed}/suites")
    halves = split_advbench(data, seed)
    unseen = halves.unseen
    # A part of JailbreakBench is AdvBench.
    goals = [goal for goal in read_column(data / JAILBREAKBENCH_HARMFUL, "Goal") if goal not in halves.train]
    xstest = read_rows(data / XSTEST, "prompt", "label")
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
    ]


def in_plain(prompts: Sequence[str]) -> tuple[Request, ...]:
    """The prompts in the plain context."""
    return tuple(Request("", prompt) for prompt in prompts)


def find_leaks(training: TrainingRequests, suites: Sequence[Suite]) -> list[str]:
    """User turns that are both trained on and measured with, letter case and end marks aside."""
    trained = {simplify(pair.request.user) for pair in training.refused}
    trained |= {simplify(request.user) for request in training.benign}
    measured = {request.user for suite in suites for request in suite.requests}
    return sorted(user for user in measured if simplify(user) in trained)


def simplify(text: str) -> str:
    """The words in lower case, with single spaces and without punctuation."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
