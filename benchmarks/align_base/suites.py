"""What the recipe measures refusals with: none of it is trained on."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.align_base.data import (
    MEASURED_ROLES,
    Pair,
    Request,
    TrainingRequests,
    in_plain,
    simplify,
    split_advbench,
)
from benchmarks.align_base.prompts import PromptLists
from benchmarks.align_base.read import (
    JAILBREAKBENCH_BENIGN,
    JAILBREAKBENCH_HARMFUL,
    PROFILES,
    SPECIFIC,
    XSTEST,
    present,
    read_column,
    read_lines,
    read_table,
)

NUM_ROLE_QUESTIONS = 50


@dataclass(frozen=True)
class Suite:
    """A named list of requests to measure with."""

    name: str
    is_harmful: bool
    requests: tuple[Request, ...]


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
    varied = tuple(Request(rng.choice(lists.profiles_unseen), prompt) for prompt in lists.unsafe_role_unseen)
    chat = tuple(Request(profile, prompt) for profile in lists.profiles_unseen for prompt in lists.small_talk_unseen)
    return [
        Suite("advbench_unseen", True, in_plain(unseen)),
        Suite("advbench_unseen_in_role", True, in_role),
        Suite("unsafe_unseen", True, in_plain(lists.unsafe_unseen)),
        Suite("unsafe_in_role_unseen", True, varied),
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


def find_leaks(training: TrainingRequests, suites: Sequence[Suite]) -> list[str]:
    """User turns that are both trained on and measured with, letter case and end marks aside."""
    trained = {simplify(user) for user in training.users()}
    measured = {request.user for suite in suites for request in suite.requests}
    return sorted(user for user in measured if simplify(user) in trained)
