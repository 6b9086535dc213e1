"""Kept answers: found again by anyone with the same key, and a damaged one counts as absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.evaluator.kept import KeptAnswers, answer_key

KEY = answer_key("digest", "greedy", [[1, 2, 3]])
ANSWER = "Tide's turned, landling \u2014 sit.\n"


def test_an_answer_is_found_after_a_restart(tmp_path: Path) -> None:
    KeptAnswers(tmp_path).keep(KEY, ANSWER)
    assert KeptAnswers(tmp_path).find(KEY) == ANSWER
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{KEY}.json"]


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    KeptAnswers(tmp_path).keep(KEY, "")
    assert KeptAnswers(tmp_path).find(KEY) == ""


def test_nothing_is_found_where_nothing_was_kept(tmp_path: Path) -> None:
    assert KeptAnswers(tmp_path / "absent").find(KEY) is None


@pytest.mark.parametrize("damage", [b"", b'{"sha256": "', b"\xff\xfe", b'{"sha256": "00", "answer": "x"}', b"[]"])
def test_a_damaged_entry_counts_as_absent_and_is_written_anew(tmp_path: Path, damage: bytes) -> None:
    kept = KeptAnswers(tmp_path)
    kept.keep(KEY, ANSWER)
    next(tmp_path.rglob("*.json")).write_bytes(damage)
    assert kept.find(KEY) is None
    kept.keep(KEY, ANSWER)
    assert kept.find(KEY) == ANSWER


def test_a_flipped_character_is_noticed(tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path)
    kept.keep(KEY, ANSWER)
    path = next(tmp_path.rglob("*.json"))
    path.write_bytes(path.read_bytes().replace(b"landling", b"sandling"))
    assert kept.find(KEY) is None


def test_a_disk_that_takes_nothing_costs_only_the_keeping(tmp_path: Path) -> None:
    (tmp_path / "answers").touch()
    kept = KeptAnswers(tmp_path / "answers")
    kept.keep(KEY, ANSWER)
    assert kept.find(KEY) is None


def test_the_key_depends_on_everything_that_the_answer_depends_on() -> None:
    others = [
        answer_key("other", "greedy", [[1, 2, 3]]),
        answer_key("digest", "greedy, max_new_tokens=8", [[1, 2, 3]]),
        answer_key("digest", "greedy", [[1, 23]]),
        answer_key("digest", "greedy", [[]]),
        answer_key("digest", "greedy", [[1], [2, 3]]),
    ]
    assert len({KEY, *others}) == 6
    assert answer_key("digest", "greedy", [(1, 2, 3)]) == KEY
