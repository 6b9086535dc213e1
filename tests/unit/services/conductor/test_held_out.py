"""Held-out dialogues: seeded, bounded, and no question on both sides."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.contracts.characters import Dialogue, Message
from services.conductor.held_out import read_questions, split_held_out


def dialogue(question: str, *more: Message) -> Dialogue:
    return Dialogue(
        messages=(Message(role="user", content=question), *more, Message(role="assistant", content="Aye, landling."))
    )


def distinct(count: int) -> list[Dialogue]:
    return [dialogue(f"Question {number}?") for number in range(count)]


def split(dialogues: list[Dialogue], share: float, seed: int) -> frozenset[int]:
    return split_held_out(read_questions(iter(dialogues)), share, seed)


def test_a_tenth_of_a_hundred_is_ten() -> None:
    assert len(split(distinct(100), 0.1, 42)) == 10


def test_there_are_at_least_one_and_at_most_forty() -> None:
    assert len(split(distinct(10), 0.01, 42)) == 1
    assert len(split(distinct(1000), 0.5, 42)) == 40


def test_nothing_is_held_out_of_few_dialogues_or_on_wish() -> None:
    assert split(distinct(9), 0.5, 42) == frozenset()
    assert split(distinct(100), 0.0, 42) == frozenset()


def test_the_split_depends_on_the_seed_only() -> None:
    dialogues = distinct(100)
    assert split(dialogues, 0.1, 42) == split(dialogues, 0.1, 42)
    assert split(dialogues, 0.1, 42) != split(dialogues, 0.1, 43)


def test_a_repeated_question_stays_on_one_side_however_it_is_written() -> None:
    dialogues = [dialogue(text) for number in range(20) for text in (f"Who is {number}?", f"  who IS {number}? ")]
    held_out = split(dialogues, 0.2, 42)
    assert len(held_out) == 8
    assert all((index ^ 1) in held_out for index in held_out)


def test_the_last_question_counts_not_the_first() -> None:
    answer = Message(role="assistant", content="A lighthouse keeper.")
    dialogues = [dialogue(f"Opening {n}?", answer, Message(role="user", content=f"Part {n // 2}?")) for n in range(20)]
    held_out = split(dialogues, 0.2, 42)
    assert len(held_out) == 4
    assert all((index ^ 1) in held_out for index in held_out)


def test_questions_that_all_repeat_cost_the_rarest_one() -> None:
    dialogues = [dialogue(f"Question {number % 3}?") for number in range(14)]
    assert split(dialogues, 0.1, 42) == {2, 5, 8, 11}


def test_one_question_for_all_holds_out_nothing() -> None:
    assert split([dialogue("Who are you?")] * 20, 0.1, 42) == frozenset()


def test_a_response_to_no_question_is_only_trained_on() -> None:
    unasked = dialogue("Question?", Message(role="assistant", content="Hm."))
    assert split([unasked] * 6 + distinct(6), 0.5, 42) <= set(range(6, 12))
    assert split([Dialogue(messages=(Message(role="assistant", content="Hm."),))] * 12, 0.5, 42) == frozenset()


def test_half_of_an_odd_number_is_rounded_down() -> None:
    assert len(split(distinct(11), 0.5, 42)) == 5


@given(st.lists(st.integers(0, 30), max_size=120), st.floats(0, 0.5), st.integers(0, 2**31 - 1))
def test_any_split_is_bounded_and_splits_no_question(questions: list[int], share: float, seed: int) -> None:
    held_out = split([dialogue(f"Question {number}?") for number in questions], share, seed)
    assert held_out <= set(range(len(questions)))
    assert len(held_out) <= min(40, len(questions) // 2)
    kept = {questions[index] for index in range(len(questions)) if index not in held_out}
    assert not kept & {questions[index] for index in held_out}
