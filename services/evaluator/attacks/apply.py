"""A suite's harmful prompts, asked as a published jailbreak."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from rolekeeper.contracts.characters import Dialogue, Message
from rolekeeper.contracts.suites import MADE_FOR_A_MODEL, AttackName, AttackUsed, Encoding, Part, SuitePrompt
from rolekeeper.errors import InvalidInput
from services.evaluator.attacks.encodings import encode
from services.evaluator.attacks.prompt_files import read_prompt_file
from services.evaluator.attacks.templates import find_template
from services.evaluator.suites.files import SETTING, SuiteUnavailable
from services.evaluator.suites.public import BadSuite

# CodeChameleon's prompt shows how to undo its encryption; this undoes `reverse`.
DECRYPT_REVERSED = """```python
def decryption(encrypted_problem):
    words = encrypted_problem.split(" ")
    return " ".join(reversed(words))
```"""

_ENCODINGS = {AttackName.CIPHER: Encoding.CAESAR, AttackName.CODECHAMELEON: Encoding.REVERSED_WORDS}

Attacked = tuple[tuple[SuitePrompt, ...], AttackUsed]


class NothingToAttack(InvalidInput):
    """The suite has no harmful prompt that the attack can ask."""

    code = "nothing_to_attack"


class Attacks:
    """The jailbreaks whose templates and prompts are in the folder of suites or installed beside it."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def apply(self, attack: AttackName, model: str | None, prompts: Sequence[SuitePrompt]) -> Attacked:
        """Return the harmful prompts as the attack asks them, and what it is; none that it has no prompt for.

        Raises SuiteUnavailable, BadSuite, UnknownAttackModel and NothingToAttack.
        """
        harmful = [prompt for prompt in prompts if prompt.part is Part.HARMFUL]
        if attack in MADE_FOR_A_MODEL:
            attacked = self._from_file(attack, model, harmful)
        elif attack is AttackName.ICA:
            attacked = self._after_demonstrations(harmful)
        else:
            attacked = self._in_template(attack, harmful)
        if not attacked[0]:
            raise NothingToAttack(
                f"attack {attack.value!r} finds nothing to ask: of the suite's {len(prompts)} prompts {len(harmful)} "
                "are harmful, and it has a prompt for none of them; choose another suite"
            )
        return attacked

    def _from_file(self, attack: AttackName, model: str | None, harmful: Sequence[SuitePrompt]) -> Attacked:
        file = read_prompt_file(attack, model, self._folder)
        found = [(prompt, file.find(prompt)) for prompt in harmful]
        return tuple(_wrapped(prompt, text) for prompt, text in found if text is not None), file.used

    def _in_template(self, attack: AttackName, harmful: Sequence[SuitePrompt]) -> Attacked:
        template, encoding = find_template(attack, self._folder), _ENCODINGS.get(attack)
        attacked = []
        for prompt in harmful:
            request = prompt.prompt if encoding is None else encode(encoding, prompt.prompt)
            wrapped = _wrapped(prompt, template.fill(request, DECRYPT_REVERSED))
            attacked.append(wrapped.model_copy(update={"encoding": encoding}))
        used = AttackUsed(
            name=attack, made_for=None, sha256=template.sha256, licence=template.licence, source=template.source
        )
        return tuple(attacked), used

    def _after_demonstrations(self, harmful: Sequence[SuitePrompt]) -> Attacked:
        """In-context attack (Wei et al. 2023): dialogues in which an assistant complies, then the request itself."""
        path = None if self._folder is None else self._folder / "attacks" / "ica.jsonl"
        if path is None or not path.is_file():
            where = f"the folder is {self._folder} ({SETTING})" if self._folder else f"{SETTING} must name the folder"
            raise SuiteUnavailable(
                "the demonstrations of attack 'ica' are not here: put them into attacks/ica.jsonl, one dialogue "
                f'{{"messages": [...]}} per line; {where}'
            )
        data = path.read_bytes()
        turns = _read_turns(data)
        used = AttackUsed(
            name=AttackName.ICA,
            made_for=None,
            sha256=hashlib.sha256(data).hexdigest(),
            licence="the operator's own",
            source="attacks/ica.jsonl in the folder of suites",
        )
        return tuple(_wrapped(prompt, prompt.prompt).model_copy(update={"turns": turns}) for prompt in harmful), used


def _wrapped(prompt: SuitePrompt, text: str) -> SuitePrompt:
    return prompt.model_copy(update={"part": Part.JAILBREAK, "prompt": text, "goal": prompt.prompt})


def _read_turns(data: bytes) -> tuple[Message, ...]:
    turns: list[Message] = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            turns.extend(Dialogue.model_validate_json(line).messages)
        except ValidationError as error:
            raise BadSuite(f"attacks/ica.jsonl, line {number}: not a dialogue: {error}") from error
    roles = [turn.role for turn in turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        raise BadSuite("attacks/ica.jsonl: user and assistant must take turns, beginning with the user")
    return tuple(turns)
