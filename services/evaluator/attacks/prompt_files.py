"""Attacks that are prompts, one for each request, made for a model: from the folder of suites."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rolekeeper.contracts.suites import AttackName, AttackUsed, SuitePrompt
from rolekeeper.errors import InvalidInput
from rolekeeper.suites.rows import BadRow, read_rows
from services.evaluator.attacks.templates import JBB_PROMPTS
from services.evaluator.suites.files import SETTING, SuiteUnavailable
from services.evaluator.suites.public import BadSuite

_JBB_NAMES: Mapping[AttackName, str] = {
    AttackName.GCG: "GCG",
    AttackName.DSN: "DSN",
    AttackName.PAIR: "PAIR",
    AttackName.JBC: "JBC",
    AttackName.RANDOM_SEARCH: "prompt_with_random_search",
}
_FIELDS = ("goal", "prompt", "target_model")


class UnknownAttackModel(InvalidInput):
    """There are no prompts of the attack for the model, or for several and none was named."""

    code = "unknown_attack_model"


class PromptFile(NamedTuple):
    """The prompts of one attack for one model, each by the words of its goal, and where they are from."""

    by_goal: Mapping[str, str]
    used: AttackUsed

    def find(self, prompt: SuitePrompt) -> str | None:
        """The attack's prompt for a request of a suite, by its text or else by its id."""
        return self.by_goal.get(_words(prompt.prompt)) or self.by_goal.get(_words(prompt.id))


def read_prompt_file(attack: AttackName, model: str | None, folder: Path | None) -> PromptFile:
    """Return an attack's prompts. Raises SuiteUnavailable, BadSuite and UnknownAttackModel, which lists the models."""
    path, rows = _rows(attack, folder)
    by_model: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        prompts = by_model[row["target_model"]]
        prompts[_words(row["goal"])] = row["prompt"]
        if row.get("behavior"):
            # The goals were reworded since: JailbreakBench's short name of a behaviour is what stayed.
            prompts.setdefault(_words(f"harmful {row['behavior']}"), row["prompt"])
    made_for = _choose(attack, model, sorted(by_model))
    name = path.name if folder is None else path.relative_to(folder).as_posix()
    used = AttackUsed(
        name=attack,
        made_for=made_for,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        licence="MIT" if name == JBB_PROMPTS else "the operator's own",
        source=f"{name} in the folder of suites",
    )
    return PromptFile(by_model[made_for], used)


def _rows(attack: AttackName, folder: Path | None) -> tuple[Path, Sequence[Mapping[str, Any]]]:
    """The rows of the attack's own file if there is one, else those of JailbreakBench's file for many attacks."""
    if folder is not None:
        own = folder / "attacks" / f"{attack}.jsonl"
        if own.is_file():
            return own, _checked(own, None)
        jbb = folder / JBB_PROMPTS
        if attack in _JBB_NAMES and jbb.is_file() and (rows := _checked(jbb, _JBB_NAMES[attack])):
            return jbb, rows
    ways = f"put its prompts into attacks/{attack}.jsonl, one object per line with {', '.join(_FIELDS)}"
    if attack in _JBB_NAMES:
        ways += f", or JailbreakBench's attack prompts into {JBB_PROMPTS}"
    setting = f"the folder is {folder} ({SETTING})" if folder else f"{SETTING} must name the folder of suites"
    raise SuiteUnavailable(f"the prompts of attack {attack.value!r} are not here: {ways}; {setting}")


def _checked(path: Path, name: str | None) -> list[Mapping[str, Any]]:
    """The rows of an attack, each with text in every field that is needed."""
    rows = []
    try:
        for row in read_rows(path.read_bytes()):
            if name is not None and row.values.get("attack") != name:
                continue
            lacking = [field for field in _FIELDS if not isinstance(row.values.get(field), str)]
            if lacking:
                raise BadSuite(f"{path.name}, line {row.line}: there is no text in {lacking[0]!r}")
            rows.append(row.values)
    except BadRow as error:
        raise BadSuite(f"{path.name}, {error}") from error
    return rows


def _choose(attack: AttackName, model: str | None, models: Sequence[str]) -> str:
    known = ", ".join(models)
    if model is None and len(models) == 1:
        return models[0]
    if model is None:
        raise UnknownAttackModel(f"attack {attack.value!r} was made for {known or 'no model'}; name one: attack_model")
    if model not in models:
        raise UnknownAttackModel(f"attack {attack.value!r} was not made for {model!r}; there is {known or 'nothing'}")
    return model


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))
