"""Rows of a table in CSV or JSONL, with the line that each begins on."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# Prompts of attacks are longer than the limit of Python's csv module.
_MAX_FIELD_CHARS = 1 << 20
_MAX_BLANK_LINES = 100_000


class Row(NamedTuple):
    """A row by column, and the 1-based line where it begins."""

    line: int
    values: Mapping[str, Any]


class BadRow(Exception):
    """A line is no row of a table."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


def read_rows(data: bytes, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the rows of JSON lines, or of CSV with a header line (or with `columns` in place of one).

    A file whose first character is `{` is JSON lines. Blank lines are skipped. Raises BadRow.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadRow(line, f"is not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8") from error
    is_json = data.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{")
    return _read_json(_lines(data, "\n")) if is_json else _read_csv(_lines(data, ""), columns)


def _lines(data: bytes, newline: str) -> Iterator[str]:
    """Yield the lines one by one: what a file of millions of empty or endless lines makes of memory is bounded."""
    num_blank = 0
    for number, line in enumerate(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=newline), start=1):
        num_blank += line.isspace()
        if len(line) > _MAX_FIELD_CHARS:
            raise BadRow(number, f"is longer than {_MAX_FIELD_CHARS} characters; shorten it")
        if num_blank > _MAX_BLANK_LINES:
            raise BadRow(number, f"is one of more than {_MAX_BLANK_LINES} blank lines; remove them")
        yield line


def _read_json(lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of more digits than Python converts
            raise BadRow(number, f"is not JSON ({error}); write one JSON object per line") from error
        if not isinstance(values, dict):
            raise BadRow(number, "is not a JSON object; write one object per line")
        if "\\u" in line and not _is_unicode(values):
            raise BadRow(number, "holds a lone surrogate, which is not valid Unicode; remove it or send both halves")
        yield Row(number, values)


def _is_unicode(values: Any) -> bool:
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_csv(lines: Iterator[str], columns: Sequence[str]) -> Iterator[Row]:
    csv.field_size_limit(_MAX_FIELD_CHARS)
    reader = csv.reader(lines, strict=True)
    names: Sequence[str] = columns
    line = 1
    try:
        for cells in reader:
            begins, line = line, reader.line_num + 1
            if not cells:
                continue
            if not names:
                names = [name.strip() for name in cells]
                continue
            if len(cells) != len(names):
                raise BadRow(begins, f"has {len(cells)} cells, but there are {len(names)} columns: {', '.join(names)}")
            yield Row(begins, dict(zip(names, cells, strict=True)))
    except csv.Error as error:
        raise BadRow(line, f"is not CSV ({error}); quote cells that hold commas, quotes or line ends") from error
