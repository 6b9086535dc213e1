"""Prompt suites: JSONL files beside this one, read once, checked line by line, named by their digest."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from rolekeeper.contracts.suites import Part, Suite, SuitePrompt, SuiteRequest
from rolekeeper.errors import NotFound, RolekeeperError

SUITES = Path(__file__).parent / "suites"


class BadSuite(RolekeeperError):
    """A suite file can't be used. The message names the file and the line."""

    code = "bad_suite"


def load_suites(folder: Path = SUITES) -> dict[str, Suite]:
    """Return every suite of a folder by its name, which is that of its file. Raises BadSuite."""
    return {path.stem: _read_suite(path) for path in sorted(folder.glob("*.jsonl"))}


def find_suite(suites: Mapping[str, Suite], request: SuiteRequest) -> Suite:
    """Return the prompts of a choice, in the order of the suite. Raises NotFound, which lists the names there are."""
    choice = request.choice
    if choice.name not in suites:
        raise NotFound(f"there is no suite {choice.name!r}; known are {', '.join(sorted(suites)) or 'none'}")
    suite = suites[choice.name]
    if choice.max_prompts is None or choice.max_prompts >= suite.num_total:
        return suite
    return suite.model_copy(update={"prompts": draw(suite.prompts, choice.max_prompts, request.seed)})


def draw(prompts: Sequence[SuitePrompt], count: int, seed: int) -> tuple[SuitePrompt, ...]:
    """Return `count` of the prompts in their order, drawn by the seed."""
    chosen = random.Random(f"suite {seed}").sample(range(len(prompts)), count)
    return tuple(prompts[index] for index in sorted(chosen))


def _read_suite(path: Path) -> Suite:
    content = path.read_bytes()
    prompts: dict[str, SuitePrompt] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            prompt = SuitePrompt.model_validate_json(line)
        except ValidationError as error:
            raise BadSuite(f"{path.name}, line {number}: not a prompt of a suite: {error}") from error
        if prompt.id in prompts:
            raise BadSuite(f"{path.name}, line {number}: the id {prompt.id!r} is taken; ids are unique and permanent")
        if "{name}" in prompt.prompt and prompt.part is not Part.IN_CHARACTER:
            raise BadSuite(f"{path.name}, line {number}: only in_character prompts may say {{name}}")
        prompts[prompt.id] = prompt
    if not prompts:
        raise BadSuite(f"{path.name}: there are no prompts in it")
    return Suite(
        name=path.stem,
        sha256=hashlib.sha256(content).hexdigest(),
        licence="Apache-2.0",
        source="shipped with Rolekeeper",
        num_total=len(prompts),
        prompts=tuple(prompts.values()),
    )
