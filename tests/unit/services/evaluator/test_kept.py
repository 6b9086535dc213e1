"""Kept answers: found again by anyone with the same key, and a damaged one counts as absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from rolekeeper.lm.encode import EncodedSample
from services.evaluator.kept import KeptAnswers, Maker, answer_key, log_prob_key

MAKER = Maker("digest", "torch.float32", {"torch": "2.13.0", "rolekeeper": "0.1.0"})
KEY = answer_key(MAKER, "greedy", [[1, 2, 3]])
SAMPLE = EncodedSample([1, 2], [3], truncated=False, dropped_messages=0)
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
        answer_key(MAKER._replace(base_digest="other"), "greedy", [[1, 2, 3]]),
        answer_key(MAKER._replace(dtype="torch.bfloat16"), "greedy", [[1, 2, 3]]),
        answer_key(MAKER._replace(software={**MAKER.software, "torch": "2.14.0"}), "greedy", [[1, 2, 3]]),
        answer_key(MAKER, "greedy, max_new_tokens=8", [[1, 2, 3]]),
        answer_key(MAKER, "greedy", [[1, 23]]),
        answer_key(MAKER, "greedy", [[]]),
        answer_key(MAKER, "greedy", [[1], [2, 3]]),
    ]
    assert len({KEY, *others}) == 8
    reordered = Maker(*MAKER[:2], {"rolekeeper": "0.1.0", "torch": "2.13.0"})
    assert answer_key(reordered, "greedy", [(1, 2, 3)]) == KEY


def test_the_key_of_a_log_prob_depends_on_the_response_too_and_is_that_of_no_answer() -> None:
    key = log_prob_key(MAKER, SAMPLE)
    others = [
        log_prob_key(MAKER._replace(software={"torch": "2.14.0"}), SAMPLE),
        log_prob_key(MAKER, SAMPLE._replace(prompt_ids=[1], response_ids=[2, 3])),
        log_prob_key(MAKER, SAMPLE._replace(response_ids=[3, 4])),
        answer_key(MAKER, "greedy", [[1, 2]]),
    ]
    assert len({key, *others}) == 5


def test_only_what_is_not_kept_is_made(tmp_path: Path) -> None:
    kept = KeptAnswers(tmp_path)
    kept.keep("aa", "kept")
    asked: list[list[int]] = []

    def make(missing: list[int]) -> dict[int, str]:
        asked.append(missing)
        return {index: f"made {index}" for index in missing}

    assert kept.fill({7: "aa", 2: "bb"}, make) == {7: "kept", 2: "made 2"}
    assert kept.fill({2: "bb", 7: "aa"}, make) == {2: "made 2", 7: "kept"}
    assert asked == [[2], []]
