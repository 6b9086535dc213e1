"""All suites of a deployment: the starter suite, the public ones, and users' own in the artifact store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.suites import Suite, SuiteInfo, SuiteList, SuiteRequest
from rolekeeper.suites.catalog import STARTER, SuiteEntry, check_known, load_entries
from rolekeeper.suites.own import check_suite
from services.evaluator.attacks.apply import Attacks
from services.evaluator.suites.draw import draw
from services.evaluator.suites.files import SuiteFiles
from services.evaluator.suites.public import BadSuite, read_public

STARTER_PATH = Path(__file__).with_name("starter.jsonl")

_SHIPPED = "shipped with Rolekeeper"


class Suites:
    """Reads the suite that is asked for. Nothing is held: files are small, and may be added while this runs."""

    def __init__(self, files: SuiteFiles, store: Store) -> None:
        self._files = files
        self._store = store
        self._entries: Mapping[str, SuiteEntry] = load_entries()
        self._attacks = Attacks(files.folder)

    def find(self, request: SuiteRequest) -> Suite:
        """Return the prompts of a choice, in the order of the suite.

        Raises:
            UnknownSuite: no suite has the name; the message lists those there are.
            UnknownRole: the suite has no questions for the role; the message lists the roles.
            SuiteUnavailable: a file of the suite, or of the attack, is not here; the message says what to put where.
            BadSuite: a file can't be used; the message names the line.
            NotFound: the artifact store has no such file.
        """
        choice = request.choice
        suite = self._read(request)
        if choice.attack is not None:
            prompts, used = self._attacks.apply(choice.attack, choice.attack_model, suite.prompts)
            suite = suite.model_copy(update={"prompts": prompts, "num_total": len(prompts), "attack": used})
        if choice.max_prompts is None or choice.max_prompts >= suite.num_total:
            return suite
        return suite.model_copy(update={"prompts": draw(suite.prompts, choice.max_prompts, request.seed)})

    def overview(self) -> SuiteList:
        """Every suite there is, and what is missing of those that are not here. Asks no network."""
        starter = SuiteInfo(
            name=STARTER,
            title="Starter suite",
            licence="Apache-2.0",
            attribution="Rolekeeper",
            num_published=120,
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
