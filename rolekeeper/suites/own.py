"""A user's own suite: JSON lines or CSV with the fields `id` (may be absent), `prompt`, `part` and `category`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from rolekeeper.contracts.characters import MAX_MESSAGE_CHARS
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.contracts.suites import MAX_SUITE_PROMPTS, TO_THE_CHARACTER, Part, SuitePrompt
from rolekeeper.suites.rows import BadRow, Row, read_rows

MAX_SUITE_BYTES = 16 << 20
MAX_PROBLEMS = 20
PARTS = (Part.HARMFUL, Part.BENIGN, Part.IN_CHARACTER, Part.IN_CHARACTER_BENIGN)

_FIELDS = ("id", "prompt", "part", "category")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_CATEGORY_CHARS = 100


class Checked(NamedTuple):
    """What was read of a suite, and what is wrong with it: use the prompts only if nothing is."""

    prompts: list[SuitePrompt]
    problems: list[ErrorItem]


def check_suite(data: bytes) -> Checked:
    """Read a suite, and note up to 20 problems, each with its line. Prompts without an id are named by their line."""
    checked = Checked([], [])
    seen: dict[str, int] = {}
    try:
        for row in read_rows(data):
            problems = list(islice(_row_problems(row, seen), MAX_PROBLEMS))
            checked.problems.extend(problems)
            if len(checked.problems) >= MAX_PROBLEMS:
                break
            if not problems:
                checked.prompts.append(_prompt(row, seen))
            if len(checked.prompts) > MAX_SUITE_PROMPTS:
                raise BadRow(row.line, f"is over the limit of {MAX_SUITE_PROMPTS} prompts; leave some out")
    except BadRow as error:
        checked.problems.append(ErrorItem(pointer="", detail=error.reason, line=error.line))
    if not checked.prompts and not checked.problems:
        checked.problems.append(ErrorItem(pointer="/file", detail="holds no prompt; send at least one"))
    return checked


def _prompt(row: Row, seen: dict[str, int]) -> SuitePrompt:
    values = row.values
    name = values.get("id") or f"line-{row.line}"
    seen[name] = row.line
    return SuitePrompt(id=name, part=Part(values["part"]), category=values["category"], prompt=values["prompt"])


def _row_problems(row: Row, seen: Mapping[str, int]) -> Iterator[ErrorItem]:
    values = row.values
    for field in values:
        if field not in _FIELDS:
            yield _item(row, field, f"is not known; the fields are {', '.join(_FIELDS)}")
    yield from _text_problems(row, "prompt", MAX_MESSAGE_CHARS)
    yield from _text_problems(row, "category", _MAX_CATEGORY_CHARS)
    if values.get("part") not in list(PARTS):
        yield _item(row, "part", f"must be one of {', '.join(PARTS)}")
    elif values["part"] not in TO_THE_CHARACTER and "{name}" in str(values.get("prompt")):
        yield _item(row, "prompt", "says {name}, which only prompts to the character may: it stands for the character")
    yield from _id_problems(row, values.get("id"), seen)


def _id_problems(row: Row, given: Any, seen: Mapping[str, int]) -> Iterator[ErrorItem]:
    name = given or f"line-{row.line}"
    if not isinstance(name, str) or not _ID.fullmatch(name):
        yield _item(row, "id", "must be 1 to 100 letters, digits, dots, hyphens or underscores, or left out")
    elif name in seen:
        yield _item(row, "id", f"{name!r} is the id of line {seen[name]} already; ids must differ")


def _text_problems(row: Row, field: str, max_chars: int) -> Iterator[ErrorItem]:
    text = row.values.get(field)
    if not isinstance(text, str) or not text.strip():
        yield _item(row, field, "is missing or blank; it needs text")
    elif "\0" in text:
        yield _item(row, field, "holds a NUL character (U+0000); remove it")
    elif len(text) > max_chars:
        yield _item(row, field, f"has {len(text)} characters; at most {max_chars}")


def _item(row: Row, field: str, detail: str) -> ErrorItem:
    return ErrorItem(pointer=f"/{field}", detail=detail, line=row.line)
