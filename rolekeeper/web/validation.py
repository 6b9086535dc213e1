"""Turns what pydantic says about an input into error items that a caller can act on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rolekeeper.contracts.problems import ErrorItem

MAX_PROBLEMS = 20
PARAMETER_KINDS = frozenset({"query", "path", "header", "cookie"})
SENTENCES = {
    "missing": "is required and missing",
    "extra_forbidden": "is not a field that this API knows; remove it or correct its spelling",
    "string_type": "must be text in quotes",
    "string_unicode": "holds a lone surrogate, which is not valid Unicode; remove it or send both halves of the pair",
    "string_too_short": "is empty; it needs text",
    "string_too_long": "is longer than {max_length} characters; shorten it",
    "too_short": "needs at least {min_length} item(s), and has {actual_length}",
    "too_long": "holds more than {max_length} items; make it shorter",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
}


def pointer(parts: Iterable[str | int]) -> str:
    """Return the JSON pointer (RFC 6901) of a path of keys and indexes. The whole document is the empty pointer.

    Keys are the caller's own, and a lone surrogate in one is written as its escape: an answer can't hold it.
    """
    return "".join("/" + _unicode(str(part)).replace("~", "~0").replace("/", "~1") for part in parts)


def _unicode(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def describe(error: Mapping[str, Any]) -> str:
    """Return one sentence about one pydantic error. It never repeats the input."""
    sentence = SENTENCES.get(error["type"])
    return str(error["msg"]) if sentence is None else sentence.format(**error.get("ctx", {}))


def error_items(
    errors: Sequence[Mapping[str, Any]], prefix: Sequence[str | int] = (), line: int | None = None
) -> tuple[ErrorItem, ...]:
    """Return the first 20 pydantic errors as items. `prefix` is where the validated value lies in the request."""
    return tuple(
        ErrorItem(pointer=pointer([*prefix, *error["loc"]]), detail=describe(error), line=line)
        for error in _direct(errors)[:MAX_PROBLEMS]
    )


def request_items(errors: Sequence[Mapping[str, Any]]) -> tuple[ErrorItem, ...]:
    """Return FastAPI's errors as items: body errors point into the body, others at /query/NAME and the like."""
    items = []
    for error in _direct(errors)[:MAX_PROBLEMS]:
        kind, *rest = error["loc"]
        where = [kind, *rest] if kind in PARAMETER_KINDS else rest
        items.append(ErrorItem(pointer=pointer(where), detail=describe(error)))
    return tuple(items)


def _direct(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Leave out lists that are "too short" only because their items are wrong, which is said of the items already."""
    return [error for error in errors if not (error["type"] == "too_short" and _was_long_enough(error))]


def _was_long_enough(error: Mapping[str, Any]) -> bool:
    given = error.get("input")
    return isinstance(given, list | tuple) and len(given) >= int(error["ctx"]["min_length"])
