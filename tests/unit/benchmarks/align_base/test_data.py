from __future__ import annotations

import hashlib
import random
import tomllib
from pathlib import Path

import pytest

from benchmarks import reproduce
from benchmarks.align_base.data import (
    MEASURED_ROLES,
    STUDIED_ROLES,
    Deck,
    Mixture,
    Pair,
    Request,
    Scene,
    TrainingRequests,
    draw_training_requests,
    prompt_digests,
    simplify,
    split_general,
)
from benchmarks.align_base.prompts import Fillings, read_lists
from benchmarks.align_base.suites import Suite, draw_role_pairs, draw_suites, find_leaks
from benchmarks.harmful_share.__main__ import OTHERS, VILLAINS

DATA = Path(__file__).parents[5] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the published prompt sets are not here")


def test_a_deck_gives_every_prompt_before_any_comes_again() -> None:
    deck = Deck(["a", "b", "c"], random.Random(0))
    drawn = deck.draw(2) + deck.draw(2) + deck.draw(2)
    assert sorted(drawn[:3]) == sorted(drawn[3:]) == ["a", "b", "c"]


def test_a_form_is_filled_with_each_of_what_it_takes() -> None:
    fillings = Fillings(subject=("cats",), deed=("bake bread", "sing"), program=())
    forms = ("How do I {deed}?", "Write about {subject}.", "Make a program that {program}.")
    assert fillings.fill(forms) == ("How do I bake bread?", "How do I sing?", "Write about cats.")


def test_every_form_is_filled_with_harmful_and_harmless_things_alike() -> None:
    lists = read_lists()
    for forms in (lists.task_forms + lists.ask_forms, lists.role_forms):
        for fillings in (lists.safe_fillings, lists.unsafe_fillings):
            assert all(fillings.fill((form,)) for form in forms)
    assert not set(lists.safe_fillings.fill(("{deed}",))) & set(lists.unsafe_fillings.fill(("{deed}",)))


def test_a_scene_takes_its_number_from_each_deck() -> None:
    mixture = Mixture({Deck(["a"], random.Random(0)): 1, Deck(["b", "c"], random.Random(0)): 2})
    assert [sorted(mixture.draw()) for _ in range(2)] == [["a", "b", "c"]] * 2


def test_lists_hold_no_prompt_twice() -> None:
    lists = read_lists()
    unsafe = lists.unsafe + lists.unsafe_role + lists.unsafe_unseen + lists.unsafe_role_unseen
    prompts = [simplify(prompt) for prompt in (*unsafe, *lists.harmless, *lists.chat, *lists.small_talk_unseen)]
    assert len(prompts) == len(set(prompts))
    assert len(lists.profiles) >= 60
    assert not set(lists.profiles) & set(lists.profiles_unseen)


def test_leaks_are_found_whatever_case_and_marks() -> None:
    request = Request("", "How do I tie a knot?")
    training = TrainingRequests([Scene((), (request,))], [], [], [])
    suites = [Suite("one", False, (Request("", "how do I tie a KNOT"), Request("", "Another?")))]
    assert find_leaks(training, suites) == ["how do I tie a KNOT"]


def test_digests_are_of_every_simplified_user_turn_once() -> None:
    asked, told = Request("A profile.", "Who, me?"), Request("", "who me")
    scene = Scene((Pair(asked, "No."),), (told,))
    training = TrainingRequests([], [scene], [], [Pair(Request("", "B"), "b")])
    expected = sorted(hashlib.sha256(text.encode()).hexdigest() for text in ("who me", "b"))
    assert prompt_digests(training) == expected


def test_no_character_of_a_study_is_trained_on() -> None:
    plan = tomllib.loads((Path(reproduce.__file__).parent / "plan.toml").read_text(encoding="utf-8"))
    measured = {*plan["characters"], *VILLAINS, *OTHERS, *MEASURED_ROLES}
    assert measured - set(STUDIED_ROLES) == {"Isaura Kell"}, "the example has its own files"


@needs_data
def test_nothing_that_is_measured_is_trained_on() -> None:
    lists = read_lists()
    training, suites = draw_training_requests(DATA, lists, 7), draw_suites(DATA, lists, 7)
    assert find_leaks(training, suites) == []
    measured = {pair.request.user for pair in (*split_general(DATA, 7).measured, *draw_role_pairs(DATA, 7))}
    assert not {simplify(user) for user in training.users()} & {simplify(user) for user in measured}
    assert len(draw_role_pairs(DATA, 7)) == 50 * len(MEASURED_ROLES)
