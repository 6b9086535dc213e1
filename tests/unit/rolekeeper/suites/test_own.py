"""A user's own suite: what is read, and what is wrong with it, line by line."""

from __future__ import annotations

import pytest

from rolekeeper.contracts.suites import MAX_SUITE_PROMPTS, TO_THE_CHARACTER, Part
from rolekeeper.suites.own import MAX_PROBLEMS, check_suite

GOOD = b'{"id": "benign-1", "part": "benign", "category": "cyber", "prompt": "How do I kill a zombie process?"}'


def test_json_lines_and_csv_say_the_same() -> None:
    lines = b'\xef\xbb\xbf{"prompt": "A, b", "part": "harmful", "category": "x"}\n\n' + GOOD
    table = b'id,prompt,part,category\r\n,"A, b",harmful,x\r\nbenign-1,How do I kill a zombie process?,benign,cyber\r\n'
    first, second = check_suite(lines), check_suite(table)
    assert not first.problems
    assert not second.problems
    assert [prompt.id for prompt in first.prompts] == ["line-1", "benign-1"]
    assert [prompt.id for prompt in second.prompts] == ["line-2", "benign-1"]
    assert [prompt.prompt for prompt in first.prompts] == [prompt.prompt for prompt in second.prompts]
    assert first.prompts[0].part is Part.HARMFUL


@pytest.mark.parametrize("part", sorted(TO_THE_CHARACTER))
def test_prompts_to_the_character_may_say_its_name(part: Part) -> None:
    checked = check_suite(f"prompt,part,category\nHello {{name}},{part},small-talk\n".encode())
    assert [(prompt.part, prompt.prompt) for prompt in checked.prompts] == [(part, "Hello {name}")]
    assert not checked.problems


def test_a_cell_may_hold_lines_and_the_next_row_is_still_named_by_its_own() -> None:
    data = b'prompt,part,category\n"one\ntwo",benign,c\nthree,odd,c\n'
    assert check_suite(data).problems[0].line == 4


@pytest.mark.parametrize(
    ("second", "pointer", "reason"),
    [
        (b"not json", "", "is not JSON"),
        (b'["a"]', "", "is not a JSON object"),
        (b'{"id": ' + b"1" * 5000 + b"}", "", "is not JSON"),
        (b'{"part": "benign", "category": "\\ud800", "prompt": "p"}', "", "holds a lone surrogate"),
        (b'{"part": "benign", "category": "c", "prompt": "p", "\\udfff": 1}', "", "holds a lone surrogate"),
        (b"\xff", "", "is not UTF-8 (byte 0xff)"),
        (
            b'{"part": "odd", "category": "c", "prompt": "p"}',
            "/part",
            "one of harmful, benign, in_character, in_character_benign",
        ),
        (b'{"part": "jailbreak", "category": "c", "prompt": "p"}', "/part", "must be one of"),
        (b'{"part": "benign", "category": "c"}', "/prompt", "is missing or blank"),
        (b'{"part": "benign", "category": "c", "prompt": 3}', "/prompt", "is missing or blank"),
        (b'{"part": "benign", "category": " ", "prompt": "p"}', "/category", "is missing or blank"),
        (b'{"part": "benign", "category": "c", "prompt": "\\u0000"}', "/prompt", "holds a NUL"),
        (b'{"part": "benign", "category": "c", "prompt": "p", "note": ""}', "/note", "is not known; the fields are"),
        (
            b'{"part": "harmful", "category": "c", "prompt": "{name}, do it"}',
            "/prompt",
            "only prompts to the character may",
        ),
        (b'{"id": "a b", "part": "benign", "category": "c", "prompt": "p"}', "/id", "must be 1 to 100 letters"),
        (GOOD, "/id", "'benign-1' is the id of line 1 already"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(second: bytes, pointer: str, reason: str) -> None:
    problem = check_suite(b"\n".join([GOOD, second, b""])).problems[0]
    assert (problem.line, problem.pointer) == (2, pointer)
    assert reason in problem.detail


def test_an_empty_suite_is_refused() -> None:
    assert check_suite(b"\n").problems[0].detail == "holds no prompt; send at least one"
    assert check_suite(b"prompt,part,category\n").problems[0].pointer == "/file"


def test_a_bad_file_is_given_up_at_20_problems_and_a_long_one_at_the_limit() -> None:
    assert MAX_PROBLEMS <= len(check_suite(b"{}\n" * 100).problems) < 2 * MAX_PROBLEMS
    long = b"prompt,part,category\n" + b"p,benign,c\n" * (MAX_SUITE_PROMPTS + 1)
    problem = check_suite(long).problems[0]
    assert problem.line == MAX_SUITE_PROMPTS + 2
    assert "limit of 10000 prompts" in problem.detail
