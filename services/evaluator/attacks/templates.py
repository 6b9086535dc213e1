"""Templates of published jailbreaks, found in the folder of suites, in JailbreakBench's prompts or in PyRIT."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

import yaml

from rolekeeper.contracts.suites import AttackName
from rolekeeper.suites.rows import BadRow, read_rows
from services.evaluator.suites.files import SETTING, SuiteUnavailable
from services.evaluator.suites.public import BadSuite

JBB_PROMPTS = "jailbreakbench/attack_prompts.jsonl"
PLACES = re.compile(r"\{\{\s*(\w+)\s*\}\}")

_PYRIT = "pyrit/datasets"
_IN_PYRIT: Mapping[AttackName, str] = {
    AttackName.AIM: f"{_PYRIT}/jailbreak/templates/aim.yaml",
    AttackName.CIPHER: f"{_PYRIT}/jailbreak/templates/cipher_chat.yaml",
    AttackName.CODECHAMELEON: f"{_PYRIT}/converters/codechameleon_converter.yaml",
}
_REQUEST = ("prompt", "encoded_prompt")


class Template(NamedTuple):
    """A text with `{{ prompt }}` where the request goes, and where it is from."""

    text: str
    sha256: str
    licence: str
    source: str

    def fill(self, request: str, decrypt_function: str = "") -> str:
        """Return the text around a request."""
        values = {**dict.fromkeys(_REQUEST, request), "decrypt_function": decrypt_function}
        return PLACES.sub(lambda match: values[match[1]], self.text)


def find_template(attack: AttackName, folder: Path | None) -> Template:
    """Return the template of an attack. Raises SuiteUnavailable, which says what to put where, and BadSuite."""
    for template in _candidates(attack, folder):
        places = set(PLACES.findall(template.text))
        unknown = places - {*_REQUEST, "decrypt_function"}
        if unknown or places.isdisjoint(_REQUEST):
            reason = f"knows no {{{{ {min(unknown)} }}}}" if unknown else "has no place for the request"
            raise BadSuite(f"{template.source}: the template {reason}; write {{{{ prompt }}}} where the request goes")
        return template
    raise SuiteUnavailable(_advice(attack, folder))


def _candidates(attack: AttackName, folder: Path | None) -> Iterator[Template]:
    if folder is not None:
        for ending in ("txt", "yaml"):
            path = folder / "attacks" / f"{attack}.{ending}"
            if path.is_file():
                yield _read(path, "the operator's own", f"attacks/{path.name} in the folder of suites")
        if attack is AttackName.AIM and (folder / JBB_PROMPTS).is_file():
            yield from _from_jailbreakbench(folder / JBB_PROMPTS)
    packaged = _pyrit_file(_IN_PYRIT.get(attack))
    if packaged is not None:
        yield _read(packaged, "MIT", f"{_IN_PYRIT[attack]} of the package pyrit")


def _read(path: Path, licence: str, source: str) -> Template:
    data = path.read_bytes()
    try:
        text = data.decode()
        if path.suffix == ".yaml":
            text = yaml.safe_load(text)["value"]
    except (UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BadSuite(f"{source} can't be read as a template with the field `value`: {error!r}") from error
    return Template(str(text).strip(), hashlib.sha256(data).hexdigest(), licence, source)


def _from_jailbreakbench(path: Path) -> Iterator[Template]:
    """The published JBC prompts are the AIM template around a goal: what is left of one without its goal."""
    data = path.read_bytes()
    try:
        rows = [row.values for row in read_rows(data) if row.values.get("attack") == "JBC"]
    except BadRow as error:
        raise BadSuite(f"{JBB_PROMPTS}, {error}") from error
    texts = {row["prompt"].replace(row["goal"], "{{ prompt }}") for row in rows}
    if len(texts) > 1:
        raise BadSuite(f"{JBB_PROMPTS}: the JBC prompts are not one template around their goals; get the original")
    for text in texts:
        yield Template(text, hashlib.sha256(data).hexdigest(), "MIT", f"the JBC prompts of {JBB_PROMPTS}")


def _pyrit_file(name: str | None) -> Path | None:
    """A file of the package, which is found without importing it: it is large, and only this text is used."""
    if name is None:
        return None
    try:
        path = Path(str(distribution("pyrit").locate_file(name)))
    except PackageNotFoundError:
        return None
    return path if path.is_file() else None


def _advice(attack: AttackName, folder: Path | None) -> str:
    ways = [f"put its template into attacks/{attack}.txt, with {{{{ prompt }}}} where the request goes"]
    if attack is AttackName.AIM:
        ways.append(f"put JailbreakBench's attack prompts into {JBB_PROMPTS}")
    if attack in _IN_PYRIT:
        ways.append("install the package pyrit (MIT), which holds it, beside the evaluator")
    setting = f"the folder is {folder} ({SETTING})" if folder else f"{SETTING} must name the folder of suites"
    return f"the template of attack {attack.value!r} is not here: {', or '.join(ways)}; {setting}"
