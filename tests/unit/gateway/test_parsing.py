"""JSON, and where it stops being JSON."""

from __future__ import annotations

import pytest

from gateway.parsing import NotJson, parse_json


@pytest.mark.parametrize(
    ("data", "reason", "byte"),
    [
        (b'{"a": "caf\xe9"}', "not valid UTF-8 (0xe9)", 10),
        ('{"é": 1, b}'.encode(), "not valid JSON", 10),
        (b'{"a": 1} x', "Extra data", 9),
        (b'{"a":"\n"}', "control character", 6),
        (b"", "not valid JSON", 0),
        (b"[" * 100_000, "nested too deeply", 0),
        (b"[Infinity]", "Infinity is not a JSON number", 0),
    ],
)
def test_fault_is_located(data: bytes, reason: str, byte: int) -> None:
    with pytest.raises(NotJson) as caught:
        parse_json(data)
    assert reason.lower() in caught.value.fault.reason.lower()
    assert caught.value.fault.byte == byte


def test_values() -> None:
    assert parse_json(b'{"a": [1, "\\ud83d\\ude00"]}') == {"a": [1, "😀"]}
    assert parse_json(b'"\\ud800"') == "\ud800"
