"""Checks dialogues one after the other, from a JSON body or a JSONL file, and says of each wrong one what to do.

Nothing here holds more than one dialogue at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import BinaryIO, NamedTuple

from pydantic import ValidationError

from gateway.cutting import Cut
from gateway.parsing import NotJson, parse_json
from rolekeeper.contracts.characters import Dialogue, Message
from rolekeeper.contracts.problems import ErrorItem
from rolekeeper.errors import InvalidInput
from rolekeeper.web.validation import MAX_PROBLEMS, error_items, pointer

MAX_LINE_BYTES = 256 * 1024
MAX_ITEM_BYTES = 4 * MAX_LINE_BYTES
"""Of a dialogue in a JSON body: escapes make it longer there than it is."""
MAX_DIALOGUES = 100_000
MAX_BLANK_LINES = 100_000
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_LAST = (
    "response(s) come before the last one of their dialogue, and only the last one is learned; for all of them create "
    "the job with hyperparameters.learned_turns: all and method.turns: all"
)


class Where(NamedTuple):
    """Where a dialogue lies in what was sent: a path into the JSON body, or a 1-based line of the file."""

    path: tuple[str | int, ...] = ()
    line: int | None = None


class Line(NamedTuple):
    """One line of a file without its end. `data` is None where the line is over the limit."""

    number: int
    offset: int
    data: bytes | None


class Problems:
    """Collects what is wrong, and gives up at 20 problems: a caller who made that many has one cause to find."""

    def __init__(self) -> None:
        self.items: list[ErrorItem] = []

    def add(self, *items: ErrorItem) -> None:
        """Note problems. Raises InvalidInput when there are 20."""
        self.items.extend(items)
        if len(self.items) >= MAX_PROBLEMS:
            self.raise_if_any()

    def raise_if_any(self) -> None:
        """Raise InvalidInput if anything was noted."""
        if self.items:
            raise self._error()

    def with_more(self, items: Sequence[ErrorItem]) -> InvalidInput:
        """Return the error for what was noted and for `items`, which must not be empty."""
        self.items.extend(items)
        return self._error()

    def _error(self) -> InvalidInput:
        items = self.items[:MAX_PROBLEMS]
        first = items[0]
        line = f"line {first.line} " if first.line is not None else ""
        count = "" if len(items) == 1 else f" (the first of {len(items)} problems listed in `errors`)"
        return InvalidInput(f"{line}{first.pointer} {first.detail}".replace("  ", " ").lstrip() + count, problems=items)


class Intake:
    """Takes dialogues in and keeps count of what was changed on the way."""

    def __init__(self) -> None:
        self.problems = Problems()
        self.num_dialogues = 0
        self.num_messages = 0
        self._num_refused = 0
        self._num_system = 0
        self._num_earlier = 0
        self._num_copies = 0
        self._num_blank_lines = 0
        self._has_mark = False
        self._seen: set[bytes] = set()

    def take(self, value: object, where: Where) -> bytes:
        """Check one dialogue and return its canonical JSON; of a wrong one note the problems and return nothing."""
        try:
            dialogue = _checked(value, where)
        except InvalidInput as error:
            self.refuse(*error.problems)
            return b""
        system = _num_leading_system(dialogue)
        kept = dialogue.model_copy(update={"messages": dialogue.messages[system:]})
        canonical = kept.model_dump_json().encode()
        if len(canonical) > MAX_LINE_BYTES:
            self.refuse(_item(where, (), f"is {len(canonical)} bytes; the limit of one dialogue is {MAX_LINE_BYTES}"))
            return b""
        self._num_system += system
        self._count(canonical, kept)
        return canonical

    def refuse(self, *items: ErrorItem) -> None:
        """Note the problems of one dialogue."""
        self._num_refused += 1
        self.problems.add(*items)

    def take_body(self, cut: Cut) -> Iterator[bytes]:
        """Check the dialogues of a JSON body, and yield their canonical JSON. Raises InvalidInput for no JSON."""
        for index in range(len(cut)):
            where = Where(("dialogues", index))
            if cut.size(index) > MAX_ITEM_BYTES:
                self.refuse(_item(where, (), f"is longer than {MAX_ITEM_BYTES} bytes; split the dialogue"))
            else:
                yield self.take(cut.item(index), where)

    def take_file(self, source: BinaryIO) -> Iterator[bytes]:
        """Check a JSONL file, and yield the canonical JSON of its dialogues."""
        for line in read_lines(source):
            if line.data is None:
                detail = f"is longer than {MAX_LINE_BYTES} bytes, the limit of a line; split the dialogue"
                self.refuse(_item(Where(line=line.number), (), detail))
                continue
            data = line.data
            if line.number == 1 and data.startswith(BYTE_ORDER_MARK):
                self._has_mark = True
                data = data[len(BYTE_ORDER_MARK) :]
            if data.strip():
                yield self._take_line(line, data)
            else:
                self._skip_blank_line()

    def finish(self, what: str) -> None:
        """Raise InvalidInput if anything was wrong, or if there was no dialogue. `what` is where they should be."""
        if self.num_dialogues == 0 and self._num_refused == 0:
            self.problems.add(ErrorItem(pointer=what, detail="holds no dialogue; send at least one"))
        self.problems.raise_if_any()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was ignored or looked odd, for the character's owner."""
        counted = (
            (self._num_system, "system message(s) before the first turn were left out: the profile takes their place"),
            (self._num_copies, "dialogue(s) are exact copies of earlier ones; they were kept"),
            (self._num_blank_lines, "blank line(s) were skipped"),
            (self._num_earlier, _NOT_LAST),
        )
        mark = ("a byte order mark at the start of the file was ignored",) if self._has_mark else ()
        return (*mark, *(f"{number} {text}" for number, text in counted if number))

    def _skip_blank_line(self) -> None:
        self._num_blank_lines += 1
        if self._num_blank_lines > MAX_BLANK_LINES:
            raise InvalidInput(f"there are more than {MAX_BLANK_LINES} blank lines in the file; remove them")

    def _take_line(self, line: Line, data: bytes) -> bytes:
        try:
            value = parse_json(data)
        except NotJson as error:
            reason, byte = error.fault
            place = f"at byte {byte} of the line, byte {line.offset + byte} of the file"
            hint = "each line must be one whole JSON object in UTF-8"
            self.refuse(_item(Where(line=line.number), (), f"is {reason} {place}; {hint}"))
            return b""
        return self.take(value, Where(line=line.number))

    def _count(self, canonical: bytes, dialogue: Dialogue) -> None:
        self.num_dialogues += 1
        self.num_messages += len(dialogue.messages)
        self._num_earlier += len(dialogue.up_to_responses("all")) - 1
        digest = blake2b(canonical, digest_size=16).digest()
        self._num_copies += digest in self._seen
        self._seen.add(digest)
        if self.num_dialogues > MAX_DIALOGUES:
            raise InvalidInput(f"there are more than {MAX_DIALOGUES} dialogues, the limit of a character; send fewer")


def read_lines(source: BinaryIO) -> Iterator[Line]:
    """Yield the lines of a file, and hold no more of any than the limit."""
    number = offset = 0
    while chunk := source.readline(MAX_LINE_BYTES + 2):
        number += 1
        size = len(chunk)
        data: bytes | None = chunk.removesuffix(b"\n").removesuffix(b"\r")
        if data is not None and len(data) > MAX_LINE_BYTES:
            data = None
        while not chunk.endswith(b"\n") and (chunk := source.readline(MAX_LINE_BYTES)):
            size += len(chunk)
            data = None
        yield Line(number, offset, data)
        offset += size


def _checked(value: object, where: Where) -> Dialogue:
    """Return the dialogue. Raises InvalidInput with all that is wrong with it."""
    try:
        dialogue = Dialogue.model_validate(value)
    except ValidationError as error:
        items = error_items(error.errors(include_url=False), where.path, where.line)
        raise InvalidInput("not a dialogue", problems=items) from error
    items = (*_text_problems(dialogue, where), *_turn_problems(dialogue, where))
    if items:
        raise InvalidInput("not a dialogue to learn from", problems=items)
    return dialogue


def _text_problems(dialogue: Dialogue, where: Where) -> Iterator[ErrorItem]:
    for index, message in enumerate(dialogue.messages):
        place = ("messages", index, "content")
        if not message.content.strip():
            yield _item(where, place, "is blank; write what was said or remove the message")
        if "\0" in message.content:
            yield _item(where, place, "holds a NUL character (U+0000); remove it")


def _turn_problems(dialogue: Dialogue, where: Where) -> Iterator[ErrorItem]:
    system = _num_leading_system(dialogue)
    turns: tuple[Message, ...] = dialogue.messages[system:]
    for index, message in enumerate(turns, start=system):
        if message.role == "system":
            detail = "is a system message after the first turn; move it to the front or remove it"
            yield _item(where, ("messages", index), detail)
    roles = {message.role for message in turns}
    if "assistant" not in roles:
        yield _item(where, ("messages",), "has no assistant turn, so there is nothing to learn; add the response")
    elif turns[-1].role != "assistant":
        last = len(dialogue.messages) - 1
        yield _item(where, ("messages", last), "is the last turn and must be the assistant's response; remove it")
    if "user" not in roles:
        yield _item(where, ("messages",), "has no user turn; add what the character responds to")


def _num_leading_system(dialogue: Dialogue) -> int:
    roles = [message.role for message in dialogue.messages]
    return next((index for index, role in enumerate(roles) if role != "system"), len(roles))


def _item(where: Where, place: tuple[str | int, ...], detail: str) -> ErrorItem:
    return ErrorItem(pointer=pointer((*where.path, *place)), detail=detail, line=where.line)
