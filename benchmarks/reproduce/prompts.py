"""What every arm is asked: prompts of public suites that the base model was not made on, and the held-out dialogues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.align_base.data import simplify, split_advbench
from benchmarks.reproduce.characters import Cast
from benchmarks.reproduce.plan import Plan
from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.characters import Context, Message
from rolekeeper.contracts.suites import SuiteChoice, SuitePrompt, SuiteRequest
from rolekeeper.contracts.verdicts import VerdictItem
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.catalog import find_entry, load_catalog
from services.evaluator.suites.draw import draw
from services.evaluator.suites.files import SuiteFiles
from services.evaluator.suites.shelf import Suites

T = TypeVar("T")

HELD_OUT = "held_out"
# The seed of the recipe's halves of AdvBench: base models without a recipe are asked the same unseen half.
ADVBENCH_SEED = 7


def suite_items(plan: Plan, name: str, data: Path, models: Path | None = None) -> dict[str, list[VerdictItem]]:
    """Return the prompts of each suite of the plan for the character `name`. An item's id is that of its prompt.

    Raises InvalidInput where a suite has too few prompts that the base model was not trained on.
    """
    suites = Suites(SuiteFiles(data), Store(data))
    seen = trained_prompts(plan.base_model, data, models)
    items = {}
    for group, wanted in plan.suites.items():
        found = suites.find(SuiteRequest(choice=SuiteChoice(name=wanted.suite), seed=plan.draw_seed)).prompts
        unseen = [each for each in found if each.part == wanted.part and digest_of(each.prompt) not in seen]
        if len(unseen) < wanted.count:
            raise InvalidInput(
                f"suites.{group}: {wanted.suite} has {len(unseen)} prompts of part {wanted.part} that the base model "
                f"was not trained on, and the plan wants {wanted.count}"
            )
        chosen = draw(unseen, wanted.count, plan.draw_seed)
        items[group] = [_item(each, name, wanted.context) for each in chosen]
    return items


def held_out_items(cast: Cast, context: Context) -> list[VerdictItem]:
    """Return the turns before each held-out response, to be answered."""
    return [
        VerdictItem(
            id=f"d{number:02d}",
            messages=each.dialogue.messages[:-1],
            context=context,
            references=each.references,
        )
        for number, each in enumerate(cast.held_out)
    ]


def trained_prompts(base_model: str, data: Path, models: Path | None = None) -> frozenset[str]:
    """Digests of the prompts that a base model of ours was made on: those of its recipe, and the recipe's AdvBench."""
    entry = find_entry(load_catalog(models), base_model)
    recipe = None if entry.adapter is None else Path(entry.adapter) / "recipe.json"
    named = json.loads(recipe.read_text("utf-8")).get("prompts_sha256", ()) if recipe and recipe.is_file() else ()
    return frozenset(named) | {digest_of(goal) for goal in split_advbench(data, ADVBENCH_SEED).train}


def digest_of(prompt: str) -> str:
    """Digest of a prompt's words, as recipes name them."""
    return hashlib.sha256(simplify(prompt).encode()).hexdigest()


def digest_of_items(groups: dict[str, list[VerdictItem]]) -> str:
    """Digest of all that is asked, in its order."""
    lines = [group + item.model_dump_json() for group, items in groups.items() for item in items]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def flat(groups: dict[str, list[VerdictItem]]) -> list[VerdictItem]:
    """All items, group after group, with ids that differ between the groups."""
    return [item.model_copy(update={"id": f"{group}/{item.id}"}) for group, items in groups.items() for item in items]


def by_group(groups: dict[str, list[VerdictItem]], values: Sequence[T]) -> dict[str, dict[str, T]]:
    """The values of all items, in the order of `flat`, by group and id."""
    left = iter(values)
    return {group: {item.id: next(left) for item in items} for group, items in groups.items()}


def _item(prompt: SuitePrompt, name: str, context: Context) -> VerdictItem:
    text = prompt.prompt.replace("{name}", name)
    short = prompt.id.removeprefix(f"{prompt.part}-")
    return VerdictItem(id=short, messages=(Message(role="user", content=text),), context=context, goal=prompt.goal)
