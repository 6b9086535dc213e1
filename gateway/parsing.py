"""JSON bytes to values, and where they stop being JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic_core import from_json
from starlette.requests import Request

from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput
from rolekeeper.web.validation import MAX_PROBLEMS, SENTENCES, pointer


class Fault(NamedTuple):
    """Why bytes are not JSON, and at which byte, counted from 0."""

    reason: str
    byte: int


class NotJson(Exception):
    """The bytes are not JSON in UTF-8."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class JsonRequest(Request):
    """A request whose JSON body must be valid Unicode, and whose faults are told by place."""

    async def json(self) -> Any:
        """Return the body. Raises InvalidInput."""
        body = await self.body()
        try:
            return from_json(body, allow_inf_nan=False)  # it takes no lone surrogate
        except ValueError:
            value = _parse_body(body)
        refuse_surrogates(value)
        return value


def parse_json(data: bytes) -> Any:
    """Return the value. Strings may still hold lone surrogates. Raises NotJson."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        return _parse_slowly(data)


def as_object(value: Any) -> dict[str, Any]:
    """Return the value of a body, which must be an object. Raises InvalidInput."""
    if not isinstance(value, dict):
        raise InvalidInput("the body must be a JSON object")
    return value


def not_json(body: bytes, fault: Fault) -> InvalidInput:
    """Return the error for a body that stops being JSON at a byte."""
    reason, byte = fault
    line = body.count(b"\n", 0, byte) + 1
    column = byte - (body.rfind(b"\n", 0, byte) + 1) + 1
    message = f"the body is {reason} at byte {byte} (line {line}, column {column} in bytes)"
    return InvalidInput(message, code="invalid_json")


def _parse_body(body: bytes) -> Any:
    try:
        return parse_json(body)
    except NotJson as error:
        raise not_json(body, error.fault) from error


def refuse_surrogates(value: Any) -> None:
    """Raise InvalidInput where text in the value holds a lone surrogate: no database and no answer can hold it."""
    problems = [ErrorItem(pointer=pointer(path), detail=SENTENCES["string_unicode"]) for path in _surrogates(value, ())]
    if problems:
        where = problems[0].pointer or "the body"
        raise InvalidInput(f"{where} {problems[0].detail}", problems=problems[:MAX_PROBLEMS])


def _surrogates(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, str) and not _is_unicode(value):
        yield path
    elif isinstance(value, dict):
        yield from ((*path, key) for key in value if not _is_unicode(key))
        for key, inner in value.items():
            yield from _surrogates(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _surrogates(inner, (*path, index))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_slowly(data: bytes) -> Any:
    """Python's own parser: it says better where the fault lies, and lets a lone surrogate pass, to be pointed at."""
    try:
        text = data.decode()
        return json.loads(text, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise NotJson(Fault(f"not valid UTF-8 (0x{data[error.start]:02x})", error.start)) from error
    except json.JSONDecodeError as error:
        byte = len(error.doc[: error.pos].encode())
        raise NotJson(Fault(f"not valid JSON ({error.msg})", byte)) from error
    except RecursionError as error:
        raise NotJson(Fault("nested too deeply", 0)) from error
    except ValueError as error:
        raise NotJson(Fault(f"not valid JSON ({error})", 0)) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
