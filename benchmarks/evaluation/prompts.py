"""What is asked: the starter suite without a system turn, and dialogues of RoleBench's lengths under a role prompt."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from benchmarks.scoring.synthetic import NAME, make_workload, shapes
from rolekeeper.contracts.suites import SuitePrompt
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.encode import Encoder, Turn
from services.evaluator.suites.shelf import STARTER_PATH

CASES = ("plain", "role")


def starter_questions() -> list[str]:
    """All prompts of the starter suite, as text."""
    prompts = [SuitePrompt.model_validate_json(line) for line in STARTER_PATH.read_bytes().splitlines()]
    return [prompt.prompt.replace("{name}", NAME) for prompt in prompts]


def make_prompts(tokenizer: PreTrainedTokenizerBase, case: str, count: int) -> list[list[int]]:
    """`count` different prompts of a case, as ids. Raises InvalidInput if there are not so many."""
    if case == "plain":
        encoder = Encoder(tokenizer)
        questions = starter_questions()
        # Spread over the suite, so that all its parts are there.
        chosen = [questions[number * len(questions) // count] for number in range(count)]
        prompts = [encoder.encode_prompt("", [Turn("user", text)]) for text in chosen]
    else:
        shape = shapes()["spe"]
        (character, *_) = make_workload(tokenizer, shape, count).characters
        prompts = [sample.prompt_ids for sample in character.role]
    distinct = list(dict.fromkeys(map(tuple, prompts)))[:count]
    if len(distinct) < count:
        raise InvalidInput(f"there are {len(distinct)} different prompts for {case}; ask for no more with --prompts")
    return [list(ids) for ids in distinct]
