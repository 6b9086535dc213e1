"""Taking dialogues in: counting, notes, and lines that never need more memory than their limit."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialogues import MAX_LINE_BYTES, Intake, Where, read_lines
from rolekeeper.contracts.characters import Dialogue
from rolekeeper.errors import InvalidInput

USER = {"role": "user", "content": "Who keeps the light?"}
ASSISTANT = {"role": "assistant", "content": "I do."}
SYSTEM = {"role": "system", "content": "You are somebody else."}


class Counting(io.BytesIO):
    """A file that notes how much of it was asked for at once."""

    largest = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.largest = max(self.largest, len(line))
        return line


def test_counts_and_canonical_form() -> None:
    intake = Intake()
    first = intake.take({"messages": [SYSTEM, SYSTEM, USER, ASSISTANT]}, Where(("dialogues", 0)))
    second = intake.take({"messages": [USER, ASSISTANT]}, Where(("dialogues", 1)))
    intake.finish("/dialogues")
    assert first == second == Dialogue.model_validate({"messages": [USER, ASSISTANT]}).model_dump_json().encode()
    assert (intake.num_dialogues, intake.num_messages) == (2, 4)
    assert [note.split()[0] for note in intake.notes] == ["2", "1"]


def test_responses_that_are_not_learned_by_default_are_noted() -> None:
    intake = Intake()
    intake.take({"messages": [ASSISTANT, USER, ASSISTANT, USER, ASSISTANT]}, Where(("dialogues", 0)))
    intake.take({"messages": [USER, ASSISTANT, USER, ASSISTANT, USER, ASSISTANT]}, Where(("dialogues", 1)))
    (note,) = intake.notes
    assert note.startswith("3 response(s) come before the last one")
    assert "learned_turns: all" in note


def test_several_problems_of_one_dialogue_are_all_said() -> None:
    intake = Intake()
    assert intake.take({"messages": [{"role": "user", "content": " "}, USER]}, Where(("dialogues", 7))) == b""
    with pytest.raises(InvalidInput, match="the first of 2 problems") as caught:
        intake.finish("/dialogues")
    assert [item.pointer for item in caught.value.problems] == [
        "/dialogues/7/messages/0/content",
        "/dialogues/7/messages",
    ]


def test_no_dialogues() -> None:
    with pytest.raises(InvalidInput) as caught:
        Intake().finish("/dialogues")
    assert caught.value.problems[0].pointer == "/dialogues"


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")), max_size=6), st.booleans())
def test_lines_are_those_of_the_file(lines: list[bytes], has_end: bool) -> None:
    content = b"\n".join(lines) + (b"\n" if has_end else b"")
    found = list(read_lines(io.BytesIO(content)))
    expected = content.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert [line.data for line in found] == [line.removesuffix(b"\r") for line in expected]
    assert [line.number for line in found] == list(range(1, len(expected) + 1))
    assert all(content[line.offset :].startswith(line.data or b"") for line in found)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_may_be_as_long_as_the_limit(end: bytes) -> None:
    fits, long = b"x" * MAX_LINE_BYTES, b"y" * (MAX_LINE_BYTES + 1)
    (line,) = read_lines(io.BytesIO(fits + end))
    assert line.data == fits
    (line,) = read_lines(io.BytesIO(long + end))
    assert line.data is None


def test_a_huge_line_is_never_held() -> None:
    file = Counting(b"x" * (10 * MAX_LINE_BYTES + 17) + b"\nnext")
    lines = list(read_lines(file))
    assert [(line.number, line.data) for line in lines] == [(1, None), (2, b"next")]
    assert lines[1].offset == 10 * MAX_LINE_BYTES + 18
    assert file.largest <= MAX_LINE_BYTES + 2


@given(st.text(min_size=1).filter(str.strip).filter(lambda text: "\0" not in text))
def test_what_is_kept_is_what_was_said(text: str) -> None:
    intake = Intake()
    line = json.dumps({"messages": [{"role": "user", "content": text}, ASSISTANT]}).encode()
    (kept,) = intake.take_file(io.BytesIO(line))
    assert json.loads(kept)["messages"][0]["content"] == text
