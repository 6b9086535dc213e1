"""The model's window: what does not fit is refused with its numbers, and never cut."""

from __future__ import annotations

import pytest

from rolekeeper.lm.encode import Encoder, EncodingError, Turn
from tests.chat_templates import CHATML, NO_SYSTEM
from tests.tiny_tokenizers import make_tiny_tokenizer

HELLO = (Turn("user", "Who keeps the light?"), Turn("assistant", "I keep the light."))
LONG = HELLO * 20


def test_exactly_the_samples_that_do_not_fit_the_window_are_refused() -> None:
    tokenizer = make_tiny_tokenizer()
    dialogues = [(Turn("user", "boats " * (index * 7 % 10)), HELLO[1]) for index in range(10)]
    samples = [Encoder(tokenizer).encode("s", dialogue) for dialogue in dialogues]
    lengths = [len(sample.prompt_ids) + len(sample.response_ids) for sample in samples]
    window = sorted(lengths)[6]
    encoder = Encoder(tokenizer, max_tokens=window)
    refused = []
    for index, dialogue in enumerate(dialogues):
        try:
            assert encoder.encode("s", dialogue) == samples[index]
        except EncodingError as error:
            refused.append((index, error.message.split(" ")[0]))
    assert refused == [(index, str(lengths[index])) for index in (1, 4, 7)]
    assert all(length <= window for index, length in enumerate(lengths) if index not in (1, 4, 7))


@pytest.mark.parametrize("template", [CHATML, NO_SYSTEM])
def test_a_sample_over_the_window_is_told_which_part_is_too_long(template: str) -> None:
    tokenizer = make_tiny_tokenizer(template)
    profile, question = "You are the keeper. " * 8, (Turn("user", "boats " * 8), HELLO[1])
    head = len(Encoder(tokenizer).encode_prompt(profile, [Turn("user", "")]))
    sample = Encoder(tokenizer).encode(profile, question)
    total = len(sample.prompt_ids) + len(sample.response_ids)
    Encoder(tokenizer, max_tokens=total).encode(profile, question)
    with pytest.raises(EncodingError) as caught:
        Encoder(tokenizer, max_tokens=total - 1).encode(profile, question)
    assert caught.value.message == (
        f"{total} tokens are too many: the profile has {head} tokens under this template; the model's window of "
        f"{total - 1} leaves {total - 1 - head} for the dialogue, which needs {total - head}; shorten the profile"
    )
    with pytest.raises(EncodingError, match=r"shorten the dialogue, or lower max_source_tokens \(the oldest turns go"):
        Encoder(tokenizer, max_tokens=total - 1).encode("You.", (Turn("user", "boats " * 100), HELLO[1]))


@pytest.mark.parametrize("room", [0, -5])
def test_a_profile_that_fills_the_window_is_told_so(room: int) -> None:
    tokenizer, profile = make_tiny_tokenizer(), "You are the keeper. " * 40
    head = len(Encoder(tokenizer).encode_prompt(profile, [Turn("user", "")]))
    with pytest.raises(EncodingError) as caught:
        Encoder(tokenizer, max_tokens=head + room).encode(profile, HELLO)
    assert caught.value.message.startswith(
        f"the profile has {head} tokens under this template; the model's window of {head + room} leaves no room for a "
        "dialogue, and this one needs "
    )


def test_a_prompt_leaves_room_in_the_window_for_its_answer() -> None:
    tokenizer = make_tiny_tokenizer()
    ids = Encoder(tokenizer).encode_prompt("s", HELLO[:1])
    encoder = Encoder(tokenizer, max_tokens=len(ids) + 9)
    assert encoder.encode_prompt("s", HELLO[:1], response_tokens=9) == ids
    with pytest.raises(EncodingError, match=rf"^{len(ids) + 10} tokens are too many"):
        encoder.encode_prompt("s", HELLO[:1], response_tokens=10)


def test_history_goes_before_the_window_is_asked() -> None:
    tokenizer = make_tiny_tokenizer()
    sample = Encoder(tokenizer, max_source_tokens=120, max_tokens=150).encode("", LONG)
    assert sample.dropped_messages > 0
    with pytest.raises(EncodingError, match="lower max_source_tokens"):
        Encoder(tokenizer, max_source_tokens=10**6, max_tokens=150).encode("", LONG)
