"""Names of uploaded files are shown and sent back, never opened."""

from __future__ import annotations

import pytest

from gateway.uploads import clean_filename


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("vesna.jsonl", "vesna.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\vesna.jsonl", "vesna.jsonl"),
        ("a\r\nb\0.jsonl", "ab.jsonl"),
        ("", "dialogues.jsonl"),
        (None, "dialogues.jsonl"),
        ("x" * 300, "x" * 255),
    ],
)
def test_clean_filename(given: str | None, kept: str) -> None:
    assert clean_filename(given) == kept
