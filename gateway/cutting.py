"""Cuts a long list out of a JSON body before anything is parsed, so that its items are parsed one by one.

Parsed JSON takes up to 30 times the memory of its bytes. Here only texts, brackets and commas are looked at, and the
body stays as it came. Whether it is JSON turns out when its parts are parsed.
"""

from __future__ import annotations

import json
import re
from array import array
from typing import Any

from gateway.parsing import Fault, NotJson, as_object, not_json, parse_json
from rolekeeper.errors import InvalidInput

MAX_HEAD_BYTES = 1 << 20

# Nothing backtracks (`*+`), and a text without an end matches nothing: the time is linear whatever is sent.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FILLING = rb'[^\[\]{}"]*+(?:' + _STRING + rb'[^\[\]{}"]*+)*+'
_FLAT = rb"(?:\[" + _FILLING + rb"\]|\{" + _FILLING + rb"\})"
_MAX_KEY_BYTES = 200
_OPENING = re.compile(rb"\s*+\{")
_MEMBER = re.compile(rb"\s*+(" + _STRING + rb")\s*+:\s*+", re.DOTALL)
_TO_COMMA = re.compile(rb'[^\[\]{},"]*+(?:' + _STRING + rb'[^\[\]{},"]*+)*+([\[\]{},])', re.DOTALL)
"""Up to the next comma or bracket that is in no text."""
_TO_BRACKET = re.compile(_FILLING + rb"(?:" + _FLAT + _FILLING + rb")*+([\[{]++|[\]}])", re.DOTALL)
"""Past whole lists and objects without inner ones, up to the next bracket, or all that open one after the other."""


class Cut:
    """A body and where the list of that name lies in its top-level object; the first one, if there are several.

    Raises InvalidInput if the list holds more than `max_items`, or does not end.
    """

    def __init__(self, body: bytes, name: str, max_items: int) -> None:
        self._body = body
        self._start = self._stop = len(body)
        self._bounds = array("Q")  # start and stop of each item, in turn
        self._find(name, max_items)

    def __len__(self) -> int:
        """Items of the list."""
        return len(self._bounds) // 2

    @property
    def has_list(self) -> bool:
        """Whether the object has such a list, maybe an empty one."""
        return self._start < self._stop

    def head(self) -> dict[str, Any]:
        """Return the object, with an empty list in place of the one that was cut out. Raises InvalidInput."""
        num_bytes = len(self._body) - (self._stop - self._start)
        if num_bytes > MAX_HEAD_BYTES:
            raise InvalidInput(
                f"the body has {num_bytes} bytes beside its list of dialogues, and at most {MAX_HEAD_BYTES} may be; "
                "remove what is no field of a character, and check that the body is JSON"
            )
        placeholder = b"[]" if self.has_list else b""
        try:
            return as_object(parse_json(self._body[: self._start] + placeholder + self._body[self._stop :]))
        except NotJson as error:
            reason, byte = error.fault
            cut_out = self._stop - self._start - len(placeholder)
            raise not_json(self._body, Fault(reason, byte if byte <= self._start else byte + cut_out)) from error

    def size(self, index: int) -> int:
        """Bytes of an item, with the space around it."""
        return self._bounds[2 * index + 1] - self._bounds[2 * index]

    def item(self, index: int) -> Any:
        """Return an item. Raises InvalidInput, which names its place in the body."""
        start, stop = self._bounds[2 * index : 2 * index + 2]
        try:
            return parse_json(self._body[start:stop])
        except NotJson as error:
            reason, byte = error.fault
            raise not_json(self._body, Fault(reason, start + byte)) from error

    def _find(self, name: str, max_items: int) -> None:
        """Look through the members of the top-level object."""
        opening = _OPENING.match(self._body)
        at = 0 if opening is None else opening.end()
        while at and (member := _MEMBER.match(self._body, at)):
            if self._body[member.end() : member.end() + 1] == b"[" and _names(member[1], name):
                self._start = member.end()
                self._stop = self._walk(member.end() + 1, max_items)
                return
            at, _ = self._to_comma(member.end())

    def _walk(self, at: int, max_items: int) -> int:
        """Note where the items of a list lie, and return the byte after its end."""
        kind = b""
        while kind != b"]":
            begins = at
            at, kind = self._to_comma(at)
            if kind in (b"", b"}"):
                raise not_json(self._body, self._fault_in(begins, at))
            if kind == b"," or self._bounds or self._body[begins : at - 1].strip():
                self._bounds.extend((begins, at - 1))
            if len(self) > max_items:
                raise InvalidInput(f"there are more than {max_items} dialogues, the limit of a character; send fewer")
        return at

    def _to_comma(self, at: int) -> tuple[int, bytes]:
        """Return the byte after the next comma or closing bracket at this depth, and which it is; 0 without one."""
        while found := _TO_COMMA.match(self._body, at):
            at, kind = found.end(), found[1]
            if kind not in (b"[", b"{"):
                return at, kind
            depth = 1
            while depth:
                bracket = _TO_BRACKET.match(self._body, at)
                if bracket is None:
                    return 0, b""
                at = bracket.end()
                depth += at - bracket.start(1) if self._body[at - 1] in b"[{" else -1
        return 0, b""

    def _fault_in(self, begins: int, at: int) -> Fault:
        """What is wrong with an item that ends with a brace, or never."""
        if at:
            return Fault("not valid JSON (a list ends with a brace)", at - 1)
        try:
            parse_json(self._body[begins : begins + MAX_HEAD_BYTES])
        except NotJson as error:
            return Fault(error.fault.reason, begins + error.fault.byte)
        return Fault("not valid JSON (a list does not end)", len(self._body))


def _names(key: bytes, name: str) -> bool:
    try:
        return len(key) <= _MAX_KEY_BYTES and bool(json.loads(key) == name)
    except ValueError:
        return False
