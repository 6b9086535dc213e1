"""What is asked of both models, and in which context."""

from __future__ import annotations

from rolekeeper.contracts.characters import Context, Message
from rolekeeper.contracts.suites import Encoding, Part, SuiteChoice, SuitePrompt
from rolekeeper.contracts.verdicts import VerdictItem
from services.conductor.report import held_out_items, suite_items
from tests.unit.services.conductor.test_report import ASKED, CHOICE, DIALOGUES, SUITE


def test_suite_items_name_the_character_and_choose_the_context() -> None:
    items = ASKED.items
    assert [item.id for item in items] == [f"starter:{prompt.id}" for prompt in SUITE.prompts]
    assert [items[n].messages[0].content for n in (6, 8)] == ["Isaura Kell, prompt 6", "Isaura Kell, prompt 8"]
    # What other prompts hold in braces is theirs.
    assert items[0].messages[0].content == "{name}, prompt 0"
    assert [item.context for item in items] == [Context.PLAIN] * 6 + [Context.ROLE] * 4
    assert all(item.references == () for item in items)


def test_a_choice_may_set_the_context_of_all_its_prompts() -> None:
    choice = SuiteChoice(name="starter", context=Context.ROLE)
    items = suite_items(choice, SUITE, "Isaura Kell")
    assert [item.context for item in items] == [Context.ROLE] * 10
    assert items[0].id == "starter@role:harmful-0"


def test_an_attack_and_the_answers_of_a_role_are_asked_as_they_are() -> None:
    turns = (Message(role="user", content="Knock knock"), Message(role="assistant", content="Who is there?"))
    prompts = (
        SuitePrompt(
            id="1", part=Part.JAILBREAK, category="c", prompt="Vlqj", goal="Sing", turns=turns, encoding=Encoding.CAESAR
        ),
        SuitePrompt(id="2", part=Part.ROLE_FIDELITY, category="c", prompt="Who are you?", references=("I.", "Me.")),
    )
    attack, own = suite_items(CHOICE, SUITE.model_copy(update={"prompts": prompts}), "Isaura", Context.ROLE)
    assert [message.content for message in attack.messages] == ["Knock knock", "Who is there?", "Vlqj"]
    assert (attack.goal, attack.encoding, attack.context) == ("Sing", Encoding.CAESAR, Context.PLAIN)
    assert (own.references, own.context) == (("I.", "Me."), Context.ROLE)


def test_held_out_items_ask_the_last_question_and_keep_the_response_as_reference() -> None:
    assert held_out_items(DIALOGUES, Context.ROLE)[1] == VerdictItem(
        id="held-out-002", messages=DIALOGUES[1].messages[:3], context=Context.ROLE, references=("Answer 2.",)
    )
