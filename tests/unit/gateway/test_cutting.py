"""The list of dialogues is cut out of a body as a whole parse would find it."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cutting import MAX_HEAD_BYTES, Cut
from rolekeeper.errors import InvalidInput

LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.sampled_from('a"\\{}[],: é😀\n'), max_size=6)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
)


@given(
    before=st.dictionaries(st.sampled_from("abc"), VALUES),
    items=st.lists(VALUES, max_size=5),
    after=st.dictionaries(st.sampled_from("xyz"), VALUES),
    indent=st.sampled_from([None, 1]),
    is_ascii=st.booleans(),
)
def test_a_cut_body_is_the_whole_one(
    before: dict[str, Any], items: list[Any], after: dict[str, Any], indent: int | None, is_ascii: bool
) -> None:
    whole = {**before, "dialogues": items, **after}
    cut = Cut(json.dumps(whole, indent=indent, ensure_ascii=is_ascii).encode(), "dialogues", max_items=100)
    assert cut.has_list
    assert [cut.item(index) for index in range(len(cut))] == items
    assert cut.head() == {**before, "dialogues": [], **after}


@given(st.dictionaries(st.sampled_from("abc"), VALUES) | VALUES)
def test_a_body_without_the_list_stays_whole(value: Any) -> None:
    cut = Cut(json.dumps(value).encode(), "dialogues", max_items=100)
    assert not cut.has_list
    assert len(cut) == 0
    if isinstance(value, dict):
        assert cut.head() == value
    else:
        with pytest.raises(InvalidInput, match="must be a JSON object"):
            cut.head()


@pytest.mark.parametrize("body", [b'{"a": {"dialogues": [1]}}', b'[{"dialogues": [1]}]', b'{"dialogues": {"a": [1]}}'])
def test_only_a_list_at_the_top_counts(body: bytes) -> None:
    assert not Cut(body, "dialogues", 100).has_list


def test_a_key_may_be_escaped() -> None:
    cut = Cut(b'{"di\\u0061logues": [1]}', "dialogues", 100)
    assert (cut.item(0), cut.head()) == (1, {"dialogues": []})


WRONG = [
    ('{"é": 1,\n  ?}', 12, "line 2, column 3"),
    ('{"dialogues": [1, 2],\n "name" "V"}', 30, "line 2, column 9"),
    ('{"name" 1, "dialogues": [1, 2]}', 8, "line 1, column 9"),
    ('{"dialogues": [1, 2} }', 19, "line 1, column 20"),
    ('{"dialogues": [1, 2', 19, "line 1, column 20"),
    ('{"dialogues": [1, 2], "name": "V"', 33, "line 1, column 34"),
    ('{"dialogues": [1,, 2]}', 17, "line 1, column 18"),
    ('{"dialogues": [1, 2,]}', 20, "line 1, column 21"),
    ('{"dialogues": [1 2]}', 17, "line 1, column 18"),
    ('{"dialogues": [{"a": 1},\n {"b" 2}]}', 31, "line 2, column 7"),
    ('{"dialogues": [[1}]}', 17, "line 1, column 18"),
    ('{"dialogues": ["a]}', 15, "line 1, column 16"),
]


@pytest.mark.parametrize(("text", "byte", "place"), WRONG)
def test_what_is_no_json_is_told_by_its_place_in_the_body(text: str, byte: int, place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_all(text.encode())
    assert caught.value.code == "invalid_json"
    assert f"at byte {byte} ({place} in bytes)" in caught.value.message


@given(st.text(st.sampled_from('[]{},:"\\1 a'), max_size=12))
def test_nothing_but_json_is_read(text: str) -> None:
    body = f'{{"dialogues": [{text}]}}'.encode()
    try:
        whole = json.loads(body)
    except ValueError:
        with pytest.raises(InvalidInput):
            read_all(body)
    else:
        head, items = read_all(body)
        assert whole == {**head, "dialogues": items}


def read_all(body: bytes) -> tuple[Any, list[Any]]:
    cut = Cut(body, "dialogues", 100)
    return cut.head(), [cut.item(index) for index in range(len(cut))]


def test_too_many_items() -> None:
    with pytest.raises(InvalidInput, match="more than 3 dialogues"):
        Cut(b'{"dialogues": [' + b"[]," * 1_000_000, "dialogues", max_items=3)


def test_what_is_no_dialogue_is_bounded() -> None:
    with pytest.raises(InvalidInput, match=f"and at most {MAX_HEAD_BYTES} may be"):
        Cut(b'{"a": [' + b"[]," * MAX_HEAD_BYTES + b"[]]}", "dialogues", max_items=3).head()


def test_memory_is_that_of_the_largest_item() -> None:
    item = b"[" + b"[]," * 10_000 + b"[]]"
    body = b'{"dialogues": [' + b",".join([item] * 200) + b"]}"
    tracemalloc.start()
    try:
        cut = Cut(body, "dialogues", 1000)
        for index in range(len(cut)):
            cut.item(index)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(body)
