"""All suites of a deployment: the starter suite, the public ones, and users' own in the artifact store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from pathlib import Path

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.suites import Part, Suite, SuiteChoice, SuiteInfo, SuiteList, SuitePrompt, SuiteRequest
from rolekeeper.errors import InvalidInput
from rolekeeper.lm.recipe import prompt_digest
from rolekeeper.suites.catalog import STARTER, SuiteEntry, check_known, load_entries
from rolekeeper.suites.own import check_suite
from services.evaluator.attacks.apply import Attacks
from services.evaluator.suites.draw import draw
from services.evaluator.suites.files import SuiteFiles
from services.evaluator.suites.public import BadSuite, read_public

STARTER_PATH = Path(__file__).with_name("starter.jsonl")

_SHIPPED = "shipped with Rolekeeper"


class NothingLeft(InvalidInput):
    """A base model was trained on every prompt of a suite, so that its answers would say nothing."""

    code = "nothing_left"


class Suites:
    """Reads the suite that is asked for. Nothing is held: files are small, and may be added while this runs."""

    def __init__(self, files: SuiteFiles, store: Store, trained: Mapping[str, Set[str]] | None = None) -> None:
        """`trained` are the digests of the prompts that each base model was trained on, by its alias."""
        self._files = files
        self._store = store
        self._trained = trained or {}
        self._entries: Mapping[str, SuiteEntry] = load_entries()
        self._attacks = Attacks(files.folder)

    def find(self, request: SuiteRequest) -> Suite:
        """Return the prompts of a choice, in the order of the suite.

        Raises:
            UnknownSuite: no suite has the name; the message lists those there are.
            UnknownRole: the suite has no questions for the role; the message lists the roles.
            SuiteUnavailable: a file of the suite, or of the attack, is not here; the message says what to put where.
            BadSuite: a file can't be used; the message names the line.
            NothingLeft: the base model was trained on every prompt of the suite.
            NotFound: the artifact store has no such file.
        """
        choice = request.choice
        suite = _leave_out(self._read(request), self._trained.get(request.base_model or "", frozenset()), choice)
        if choice.attack is not None:
            prompts, used = self._attacks.apply(choice.attack, choice.attack_model, suite.prompts)
            suite = suite.model_copy(update={"prompts": prompts, "num_total": len(prompts), "attack": used})
        if choice.max_prompts is None or choice.max_prompts >= len(suite.prompts):
            return suite
        return suite.model_copy(update={"prompts": draw(suite.prompts, choice.max_prompts, request.seed)})

    def overview(self) -> SuiteList:
        """Every suite there is, and what is missing of those that are not here. Asks no network."""
        starter = SuiteInfo(
            name=STARTER,
            title="Starter suite",
            licence="Apache-2.0",
            attribution="Rolekeeper",
            num_published=444,
            available=True,
            note=_SHIPPED,
        )
        return SuiteList(suites=(starter, *(self._info(entry) for entry in self._entries.values())))

    def _info(self, entry: SuiteEntry) -> SuiteInfo:
        missing = [file for file in entry.files if not self._files.is_here(file)]
        if not missing:
            note = "its files are here"
        elif all(file.hub is not None for file in missing):
            note = f"is fetched from the Hugging Face hub when it is asked for. {entry.terms}".rstrip()
        else:
            note = "; ".join(self._files.advice(entry, file) for file in missing)
        return SuiteInfo(
            name=entry.name,
            title=entry.title,
            licence=entry.licence,
            attribution=entry.attribution,
            num_published=entry.size,
            available=not missing,
            note=note,
        )

    def _read(self, request: SuiteRequest) -> Suite:
        choice = request.choice
        if choice.file is not None:
            sha256 = request.file_sha256 or ""
            data = self._store.path(sha256).read_bytes()
            return _own_format(choice.name, data, "the uploader's own", f"uploaded file {choice.file}")
        check_known(self._entries, choice.name)
        if choice.name == STARTER:
            return _own_format(STARTER, STARTER_PATH.read_bytes(), "Apache-2.0", _SHIPPED)
        return self._public(self._entries[choice.name], choice.role or request.character)

    def _public(self, entry: SuiteEntry, role: str | None) -> Suite:
        found = [self._files.read(entry, file) for file in entry.files]
        prompts = read_public(entry, [each.data for each in found], role)
        of_all = "" if entry.size is None else f", {len(prompts)} of {entry.size} published prompts"
        return Suite(
            name=entry.name,
            sha256=hashlib.sha256(b"".join(each.data for each in found)).hexdigest(),
            licence=entry.licence,
            source=f"{entry.title}, {entry.attribution}: {', '.join(each.where for each in found)}{of_all}",
            num_total=len(prompts),
            prompts=tuple(prompts),
        )


def _leave_out(suite: Suite, trained: Set[str], choice: SuiteChoice) -> Suite:
    """The suite without the prompts that a base model was trained on. An attack asks, and so counts, harmful ones."""
    kept = tuple(prompt for prompt in suite.prompts if not _is_trained(prompt, trained))
    if not kept:
        raise NothingLeft(
            f"the base model was trained on all {suite.num_total} prompts of suite {suite.name!r}; choose another suite"
        )
    left_out = [prompt for prompt in suite.prompts if _is_trained(prompt, trained)]
    if choice.attack is not None:
        left_out = [prompt for prompt in left_out if prompt.part is Part.HARMFUL]
    return suite.model_copy(update={"prompts": kept, "num_total": len(kept), "num_left_out": len(left_out)})


def _is_trained(prompt: SuitePrompt, trained: Set[str]) -> bool:
    """With or without the character's name, which stands in no training prompt."""
    return bool(trained) and prompt_digest(prompt.prompt.replace("{name}", "")) in trained


def _own_format(name: str, data: bytes, licence: str, source: str) -> Suite:
    checked = check_suite(data)
    if checked.problems:
        first = checked.problems[0]
        line = "" if first.line is None else f", line {first.line}"
        raise BadSuite(f"suite {name!r}{line}: {first.pointer} {first.detail}")
    return Suite(
        name=name,
        sha256=hashlib.sha256(data).hexdigest(),
        licence=licence,
        source=source,
        num_total=len(checked.prompts),
        prompts=tuple(checked.prompts),
    )
