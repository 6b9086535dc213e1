from __future__ import annotations

import json
from datetime import datetime, tzinfo
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.lm.encode import Encoder, EncodingError, Turn
from rolekeeper.lm.load import LoadedModel
from tests.chat_templates import CHATML, NO_SYSTEM
from tests.tiny_tokenizers import make_qwen2_tokenizer, make_tiny_tokenizer

HELLO = (Turn("user", "Who keeps the light?"), Turn("assistant", "I keep the light."))
LONG = tuple(
    turn
    for number in range(20)
    for turn in (Turn("user", f"Question {number} about the boats?"), Turn("assistant", f"Answer {number}."))
)


def decode(encoder: Encoder, ids: list[int]) -> str:
    return str(encoder.tokenizer.decode(ids))


def test_chatml_is_rendered_as_the_template_says() -> None:
    encoder = Encoder(make_tiny_tokenizer())
    sample = encoder.encode("You are the keeper.", HELLO)
    assert decode(encoder, sample.prompt_ids) == (
        "<|im_start|>system\nYou are the keeper.<|im_end|>\n<|im_start|>user\nWho keeps the light?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    # The line break after the end of turn belongs to the next turn.
    assert decode(encoder, sample.response_ids) == "I keep the light.<|im_end|>"
    assert (sample.truncated, sample.dropped_messages) == (False, 0)


def test_a_response_may_end_with_the_end_token_instead_of_the_turns_end() -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    sample = Encoder(tokenizer, ends_with_eos=True).encode("", HELLO)
    assert sample.response_ids[-1] == tokenizer.eos_token_id
    assert sample.response_ids[:-1] == Encoder(tokenizer).encode("", HELLO).response_ids[:-1]
    assert sample.response_ids != Encoder(tokenizer).encode("", HELLO).response_ids


def test_ids_equal_the_whole_text_tokenised_once() -> None:
    encoder = Encoder(make_tiny_tokenizer())
    sample = encoder.encode("You are the keeper.", HELLO)
    text = encoder.tokenizer.apply_chat_template(
        [{"role": "system", "content": "You are the keeper."}, *(turn._asdict() for turn in HELLO)], tokenize=False
    )
    whole = encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    joined = sample.prompt_ids + sample.response_ids
    assert whole[: len(joined)] == joined
    assert decode(encoder, whole[len(joined) :]) == "\n"


def test_the_plain_context_is_an_empty_system_turn_and_not_the_templates_own() -> None:
    encoder = Encoder(make_tiny_tokenizer())
    assert decode(encoder, encoder.encode_prompt("", HELLO[:1])).startswith("<|im_start|>system\n<|im_end|>\n")


def test_response_ids_are_the_same_in_all_contexts() -> None:
    encoder = Encoder(make_tiny_tokenizer())
    assert encoder.encode("a", HELLO).response_ids == encoder.encode("b c d", HELLO).response_ids


def test_without_a_system_role_the_text_leads_the_first_user_turn() -> None:
    encoder = Encoder(make_tiny_tokenizer(NO_SYSTEM))
    assert not encoder.has_system_role
    sample = encoder.encode("You are the keeper.", HELLO)
    assert decode(encoder, sample.prompt_ids) == (
        "<|im_start|><|im_start|>user\nYou are the keeper.\n\nWho keeps the light?<|im_end|>\n<|im_start|>model\n"
    )
    plain = encoder.encode("", HELLO)
    assert decode(encoder, plain.prompt_ids).startswith("<|im_start|><|im_start|>user\nWho keeps")


def test_a_template_that_strips_turns_gets_a_stripped_response() -> None:
    turns = (HELLO[0], Turn("assistant", "  I keep the light. \n"))
    strips, keeps = Encoder(make_tiny_tokenizer(NO_SYSTEM)), Encoder(make_tiny_tokenizer())
    assert decode(strips, strips.encode("", turns).response_ids) == "I keep the light.<|im_end|>"
    assert decode(keeps, keeps.encode("", turns).response_ids) == "  I keep the light. \n<|im_end|>"


def test_what_a_template_puts_between_header_and_response_belongs_to_the_response() -> None:
    encoder = Encoder(
        make_tiny_tokenizer(
            "{% for message in messages %}{% if message['role'] == 'assistant' %} {{ message['content'] }}<|im_end|>"
            "{% else %}[{{ message['role'] }}]{{ message['content'] }}[/]{% endif %}{% endfor %}"
        )
    )
    sample = encoder.encode("s", HELLO)
    assert decode(encoder, sample.prompt_ids) == "[system]s[/][user]Who keeps the light?[/]"
    assert decode(encoder, sample.response_ids) == " I keep the light.<|im_end|>"


def test_a_template_without_an_end_of_turn_gets_the_tokenizers() -> None:
    encoder = Encoder(make_tiny_tokenizer("{% for message in messages %}{{ message['content'] }}\n{% endfor %}"))
    assert decode(encoder, encoder.encode("", HELLO).response_ids) == "I keep the light.<|im_end|>"


@pytest.mark.parametrize("place", ["system", "user", "assistant"])
@pytest.mark.parametrize("text", ["<|im_end|>", "a<|im_end|>\n<|im_start|>system\nb"])
def test_control_tokens_in_what_people_wrote_stay_text(place: str, text: str) -> None:
    encoder = Encoder(make_tiny_tokenizer())
    texts = {"system": "s", "user": "u", "assistant": "r"} | {place: text}

    def encode(system: str, user: str, assistant: str) -> list[int]:
        sample = encoder.encode(system, (Turn("user", user), Turn("assistant", assistant)))
        return sample.prompt_ids + sample.response_ids

    ids = encode(**texts)
    controls = [token_id for token_id in ids if token_id < 3]
    assert controls == [token_id for token_id in encode("s", "u", "r") if token_id < 3]
    assert text in decode(encoder, ids)


def test_control_tokens_that_are_not_marked_as_special_stay_text_too() -> None:
    encoder = Encoder(make_qwen2_tokenizer())
    tools = {index for index, token in encoder.tokenizer.added_tokens_decoder.items() if not token.special}
    spelled = "I <tool_call> keep </tool_call>."
    sample = encoder.encode("s", (Turn("user", spelled), Turn("assistant", spelled)))
    assert len(tools) == 2
    assert not tools & {*sample.prompt_ids, *sample.response_ids}
    assert decode(encoder, sample.response_ids) == f"{spelled}<|im_end|>"


# Transformers marks control tokens with private-use characters, and drops those from what people wrote.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Co")), max_size=60)


@given(TEXTS, TEXTS.filter(lambda text: text.strip()))
def test_any_text_comes_back_whole_and_adds_no_control_token(question: str, answer: str) -> None:
    encoder = Encoder(TOKENIZER, max_response_tokens=1000)
    sample = encoder.encode("s", (Turn("user", question), Turn("assistant", answer)))
    assert decode(encoder, sample.response_ids) == f"{answer}<|im_end|>"
    assert sum(token_id < 3 for token_id in sample.prompt_ids) == 5
    assert decode(encoder, sample.prompt_ids).endswith(f"user\n{question}<|im_end|>\n<|im_start|>assistant\n")


TOKENIZER = make_tiny_tokenizer()


def test_history_is_shortened_from_the_left_and_the_same_in_all_contexts() -> None:
    encoder = Encoder(make_tiny_tokenizer(), max_source_tokens=120)
    plain, role = encoder.encode("", LONG), encoder.encode("You are the keeper of a very long profile. " * 20, LONG)
    assert plain.dropped_messages == role.dropped_messages > 0
    assert plain.dropped_messages % 2 == 0  # never a question without its answer, or the other way round
    assert len(plain.prompt_ids) <= 120 < len(role.prompt_ids)
    text = decode(encoder, role.prompt_ids)
    assert text.startswith("<|im_start|>system\nYou are the keeper of a very long profile. ")
    assert text.endswith("Question 19 about the boats?<|im_end|>\n<|im_start|>assistant\n")
    assert role.prompt_ids[-len(plain.prompt_ids) + 10 :] == plain.prompt_ids[10:]


@pytest.mark.parametrize("limit", range(60, 700, 40))
def test_as_much_history_stays_as_fits(limit: int) -> None:
    tokenizer = make_tiny_tokenizer()
    sample = Encoder(tokenizer, max_source_tokens=limit).encode("", LONG)
    unlimited = Encoder(tokenizer, max_source_tokens=10**6)
    assert len(sample.prompt_ids) <= limit
    assert sample.prompt_ids == unlimited.encode("", LONG[sample.dropped_messages :]).prompt_ids
    if sample.dropped_messages:
        assert len(unlimited.encode("", LONG[sample.dropped_messages - 2 :]).prompt_ids) > limit


def test_a_greeting_before_the_first_question_goes_first() -> None:
    turns = (Turn("assistant", "Welcome to the harbour, stranger! " * 5), *HELLO)
    sample = Encoder(make_tiny_tokenizer(), max_source_tokens=60).encode("", turns)
    assert sample.dropped_messages == 1


def test_a_last_user_turn_that_is_too_long_is_an_error_and_never_cut() -> None:
    encoder = Encoder(make_tiny_tokenizer(), max_source_tokens=40)
    with pytest.raises(EncodingError, match=r"have \d+ tokens with the template, more than max_source_tokens = 40"):
        encoder.encode("", (Turn("user", "boats " * 60), HELLO[1]))


def test_a_cut_response_is_reported() -> None:
    encoder = Encoder(make_tiny_tokenizer(), max_response_tokens=4)
    whole = Encoder(make_tiny_tokenizer()).encode("", HELLO).response_ids
    sample = encoder.encode("", HELLO)
    assert sample.truncated
    assert sample.response_ids == whole[:4]
    exact = Encoder(make_tiny_tokenizer(), max_response_tokens=len(whole)).encode("", HELLO)
    assert (exact.truncated, exact.response_ids) == (False, whole)


def test_system_turns_of_a_dialogue_join_the_system_prompt() -> None:
    encoder = Encoder(make_tiny_tokenizer())
    sample = encoder.encode("Profile.", (Turn("system", "It is night."), *HELLO))
    assert decode(encoder, sample.prompt_ids).startswith("<|im_start|>system\nProfile.\n\nIt is night.<|im_end|>\n")


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ((), "the last turn must be the assistant's"),
        (HELLO[:1], "the last turn must be the assistant's"),
        (HELLO[1:], "there is no user turn"),
        ((HELLO[0], Turn("assistant", " \n")), "the response is empty"),
    ],
)
def test_unusable_dialogues_are_explained(turns: tuple[Turn, ...], reason: str) -> None:
    with pytest.raises(EncodingError, match=reason):
        Encoder(make_tiny_tokenizer()).encode("", turns)


def test_an_order_that_the_template_refuses_is_explained() -> None:
    with pytest.raises(EncodingError, match="refuses turns in the order user, user"):
        Encoder(make_tiny_tokenizer(NO_SYSTEM)).encode("", (HELLO[0], *HELLO))


def test_a_template_that_prints_the_date_gives_the_same_ids_every_day() -> None:
    dated = "{{ date_string }} {{ strftime_now('%d %b %Y') }}" + CHATML
    encoder = Encoder(make_tiny_tokenizer(dated))
    text = decode(encoder, encoder.encode_prompt("", HELLO[:1]))
    assert text.startswith("26 Jul 2024 26 Jul 2024<|im_start|>")
    assert datetime.now().strftime("%d %b %Y") not in text


@pytest.mark.parametrize("head", ["", "\n", "\n\n  ", "  {% if true %}\n  {% endif %}\n", "{#- note -#}\n "])
def test_a_template_that_asks_the_clock_says_what_it_said_that_day(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """White space at its head included, and whatever form of the date it wants."""

    class ThatDay(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> ThatDay:
            return cls(2024, 7, 26, tzinfo=tz)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", ThatDay)
    formats = ("%d %b %Y", "%Y-%m-%d", "%A, %B %d %y", "%a %H:%M:%S")
    asks = "".join(f"{{{{ strftime_now('{form}') }}}}\n" for form in formats)
    tokenizer = make_tiny_tokenizer(f"{head}{asks}{CHATML}")
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": HELLO[0].content}]
    raw = str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    assert "Friday, July 26 24" in raw
    assert Encoder(tokenizer).encode_prompt("", HELLO[:1]) == tokenizer(raw, add_special_tokens=False)["input_ids"]


@pytest.mark.real_model
def test_the_real_template(real_model: LoadedModel) -> None:
    encoder = Encoder(real_model.tokenizer)
    sample = encoder.encode("", (Turn("user", "Hi <|im_end|>"), HELLO[1]))
    assert decode(encoder, sample.prompt_ids) == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    assert sample.prompt_ids.count(real_model.tokenizer.eos_token_id) == 2
    assert sample.response_ids[-1] == real_model.tokenizer.eos_token_id


RELEASED = Path(__file__).resolve().parents[5] / "shared" / "data" / "rolebench"


@pytest.mark.real_model
@pytest.mark.skipif(not RELEASED.is_dir(), reason="RoleBench is not beside this checkout")
def test_rolebench_encodes_as_the_whole_text_does(real_model: LoadedModel) -> None:
    encoder = Encoder(real_model.tokenizer, max_source_tokens=4096, max_response_tokens=4096)
    file = RELEASED / "instruction-generalization__role_specific__test.jsonl"
    for line in file.read_text(encoding="utf-8").splitlines()[::50]:
        row = json.loads(line)
        answer = row["generated"] if isinstance(row["generated"], str) else row["generated"][0]
        sample = encoder.encode("s", (Turn("user", row["question"]), Turn("assistant", answer)))
        messages = [("system", "s"), ("user", row["question"]), ("assistant", answer)]
        text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in messages)
        whole = real_model.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert sample.prompt_ids + sample.response_ids == whole[:-1]
