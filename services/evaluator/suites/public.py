"""The prompts of a public suite, from its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from rolekeeper.contracts.suites import SuitePrompt
from rolekeeper.errors import InvalidInput
from rolekeeper.suites.catalog import SuiteEntry, SuiteFile
from rolekeeper.suites.rows import BadRow, Row, read_rows


class BadSuite(InvalidInput):
    """A suite file can't be used. The message names the file and the line."""

    code = "bad_suite"


class UnknownRole(InvalidInput):
    """A suite has no questions for a role."""

    code = "unknown_role"


class _Placed(NamedTuple):
    """A row and the file that it is from."""

    file: SuiteFile
    row: Row

    def cell(self, column: str) -> Any:
        """The value of a column. Raises BadSuite."""
        if column not in self.row.values:
            known = ", ".join(self.row.values)
            raise self.error(f"there is no column {column!r}; the columns are {known}")
        return self.row.values[column]

    def error(self, reason: str) -> BadSuite:
        return BadSuite(f"{self.file.path}, line {self.row.line}: {reason}")


def read_public(entry: SuiteEntry, contents: Sequence[bytes], role: str | None) -> list[SuitePrompt]:
    """Return the prompts of a suite, whose files hold `contents`; of a suite by roles, those of `role`.

    Rows that ask a role the same again are left out. Raises BadSuite, and UnknownRole, which lists the roles.
    """
    placed = [each for file, data in zip(entry.files, contents, strict=True) for each in _rows(file, data)]
    if entry.by_role:
        placed = _of_role(entry, placed, role)
    prompts = [_prompt(entry, each, number) for number, each in enumerate(placed, start=1)]
    _check(entry, prompts)
    return prompts


def _rows(file: SuiteFile, data: bytes) -> Iterator[_Placed]:
    try:
        for row in read_rows(data, file.columns):
            placed = _Placed(file, row)
            if all(placed.cell(column) == value for column, value in file.where.items()):
                yield placed
    except BadRow as error:
        raise BadSuite(f"{file.path}, {error}") from error


def _of_role(entry: SuiteEntry, placed: Sequence[_Placed], role: str | None) -> list[_Placed]:
    """The first row for each question of a role."""
    chosen: dict[str, _Placed] = {}
    roles: dict[str, str] = {}
    for each in placed:
        name = str(each.cell(each.file.role or ""))
        roles.setdefault(_plain(name), name)
        if role is not None and _plain(name) == _plain(role):
            chosen.setdefault(" ".join(str(each.cell(each.file.prompt)).split()), each)
    if not chosen:
        asked = "names no role" if role is None else f"has no questions for {role!r}"
        known = ", ".join(sorted(roles.values()))
        raise UnknownRole(f"suite {entry.name!r} {asked}; give `role` with one of {known}")
    return list(chosen.values())


def _plain(name: str) -> str:
    return "".join(re.findall(r"\w+", name.casefold())).replace("_", "")


def _prompt(entry: SuiteEntry, placed: _Placed, number: int) -> SuitePrompt:
    file = placed.file
    part = file.part
    if file.part_column is not None:
        value = str(placed.cell(file.part_column))
        if value not in file.parts:
            raise placed.error(f"{file.part_column} is {value!r}; known are {', '.join(file.parts)}")
        part = file.parts[value]
    own = file.category or ("" if file.category_column is None else str(placed.cell(file.category_column)))
    name = f"{number:04d}" if file.id is None else str(placed.cell(file.id))
    try:
        return SuitePrompt.model_validate(
            {
                "id": f"{part}-{name}",
                "part": part,
                "category": entry.categories.get(own, own) or "uncategorised",
                "prompt": str(placed.cell(file.prompt)).strip(),
                "references": () if file.references is None else placed.cell(file.references),
            }
        )
    except ValidationError as error:
        raise placed.error(f"is not a prompt of a suite: {error}") from error


def _check(entry: SuiteEntry, prompts: Sequence[SuitePrompt]) -> None:
    if not prompts:
        raise BadSuite(f"suite {entry.name!r}: there are no prompts in {_paths(entry)}")
    ids = [prompt.id for prompt in prompts]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise BadSuite(f"suite {entry.name!r}: the id {twice!r} is there twice in {_paths(entry)}")
    opening = entry.answers_start
    if opening is not None and 2 * sum(prompt.prompt.startswith(opening) for prompt in prompts) > len(prompts):
        column = entry.files[0].prompt
        raise BadSuite(
            f"{_paths(entry)}: column {column!r} holds the target answers ({opening!r}...): the two names in the "
            "header line are swapped, as in some copies of this set; get the original, or swap the names"
        )


def _paths(entry: SuiteEntry) -> str:
    return ", ".join(file.path for file in entry.files)
