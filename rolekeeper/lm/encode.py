"""Chat messages to token ids.

The model's own chat template is rendered to text and tokenised once; everything after that works on ids. What people
wrote (profiles, turns) can't become a control token, whatever it spells.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from rolekeeper.errors import InvalidInput

# Templates may print the date of the day: the same dialogue must give the same ids tomorrow.
_DATE = "26 Jul 2024"
# A macro, as transformers lets no function of ours into a template. It takes the line break that ends it with it, so
# that the template still begins at the beginning of a line.
_FIXED_CLOCK = (
    "{%- macro strftime_now(format) -%}"
    "{{ format | replace('%d', '26') | replace('%b', 'Jul') | replace('%B', 'July') | replace('%m', '07')"
    " | replace('%Y', '2024') | replace('%y', '24') | replace('%a', 'Fri') | replace('%A', 'Friday')"
    " | replace('%H', '00') | replace('%M', '00') | replace('%S', '00') }}"
    "{%- endmacro %}\n"
)


class EncodingError(InvalidInput):
    """A dialogue can't be turned into tokens. The message says why."""

    code = "unusable_dialogue"


class MessageLike(Protocol):
    """A turn of a dialogue: `role` is system, user or assistant."""

    @property
    def role(self) -> str:
        """Who speaks."""

    @property
    def content(self) -> str:
        """What is said."""


class Turn(NamedTuple):
    """The plainest MessageLike."""

    role: str
    content: str


class EncodedSample(NamedTuple):
    """A prompt that ends with the assistant's header, and the response with its end of turn.

    `truncated`: the response was cut and has lost its end of turn. `dropped_messages`: oldest turns left out.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    truncated: bool
    dropped_messages: int


class _Prompt(NamedTuple):
    ids: list[int]
    dropped_messages: int


class Encoder:
    """Encodes dialogues for one tokenizer.

    Learns three things from the chat template, once: whether it takes a system turn (else the system text goes to the
    head of the first user turn), what it puts around a response, and what ends a turn. `max_source_tokens` bounds the
    prompt without its system turn, so that all contexts keep the same turns; `max_response_tokens` bounds the
    response with its end of turn. `max_tokens` is the model's window: prompt and response together may not be longer,
    and nothing is cut to fit. With `ends_with_eos` a response ends with the tokenizer's end token instead of what the
    template puts there.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_source_tokens: int = 512,
        max_response_tokens: int = 128,
        max_tokens: int | None = None,
        *,
        ends_with_eos: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.max_source_tokens = max_source_tokens
        self.max_response_tokens = max_response_tokens
        self.max_tokens = max_tokens
        template = tokenizer.get_chat_template()
        self._template = _FIXED_CLOCK + template if "strftime_now" in template else template
        self.has_system_role = self._probe_system_role()
        self._before, self._end_ids, self._strips = self._probe_response()
        if ends_with_eos:
            self._end_ids = self._eos_ids()
        # Only the text comes out. The template is there as its control tokens are those that a response must not make.
        self._text_template = "{{ messages[0]['content'] }}{% if false %}" + self._template + "{% endif %}"

    def encode(self, system: str, messages: Sequence[MessageLike]) -> EncodedSample:
        """Encode turns that end with the assistant's response, under a system prompt ("" for the plain context).

        The response ids are the same whatever the system prompt. Raises EncodingError, also where the last user turn
        alone is longer than `max_source_tokens`, or the whole longer than `max_tokens`: a template, a profile or a
        question is never cut.
        """
        if not messages or messages[-1].role != "assistant":
            raise EncodingError("the last turn must be the assistant's: it is the response that is learned")
        response_ids = self._response_ids(messages[-1].content)
        kept_ids = response_ids[: self.max_response_tokens]
        prompt = self._prompt(system, messages[:-1], len(kept_ids))
        return EncodedSample(
            prompt_ids=prompt.ids,
            response_ids=kept_ids,
            truncated=len(response_ids) > self.max_response_tokens,
            dropped_messages=prompt.dropped_messages,
        )

    def encode_prompt(self, system: str, messages: Sequence[MessageLike], response_tokens: int = 1) -> list[int]:
        """Encode turns up to the assistant's header, for decoding up to `response_tokens`. Raises EncodingError."""
        return self._prompt(system, messages, response_tokens).ids

    def _prompt(self, system: str, messages: Sequence[MessageLike], response_tokens: int) -> _Prompt:
        """System turns among the messages are joined to the system prompt and, like it, never dropped."""
        turns = [message for message in messages if message.role != "system"]
        if not any(turn.role == "user" for turn in turns):
            raise EncodingError("there is no user turn before the response")
        texts = [system, *(message.content for message in messages if message.role == "system")]
        joined = "\n\n".join(text for text in texts if text)
        ids = self._prompt_ids(joined, turns)
        start = 0 if len(ids) <= self.max_source_tokens else self._first_kept_turn(turns)
        if start:
            ids = self._prompt_ids(joined, turns[start:])
        self._check_window(joined, len(ids) + response_tokens)
        return _Prompt(ids, start)

    def _check_window(self, system: str, num_tokens: int) -> None:
        if self.max_tokens is None or num_tokens <= self.max_tokens:
            return
        profile = len(self._prompt_ids(system, [Turn("user", "")]))
        raise EncodingError(_too_long(profile, num_tokens - profile, self.max_tokens))

    def _first_kept_turn(self, turns: Sequence[MessageLike]) -> int:
        """Where history must begin to fit: at the first turn, or at a user turn (an answer needs its question)."""
        users = [index for index, turn in enumerate(turns) if turn.role == "user"]
        starts = sorted({0, *users})
        kept = bisect_left(starts, True, key=lambda start: self._source_tokens(turns[start:]) <= self.max_source_tokens)
        if kept == len(starts):
            raise EncodingError(
                f"the last user turn and what follows it have {self._source_tokens(turns[users[-1] :])} tokens with "
                f"the template, more than max_source_tokens = {self.max_source_tokens}; shorten it or raise the limit"
            )
        return starts[kept]

    def _source_tokens(self, turns: Sequence[MessageLike]) -> int:
        return len(self._prompt_ids("", turns))

    def _prompt_ids(self, system: str, turns: Sequence[MessageLike]) -> list[int]:
        messages = self._template_messages(system, turns)
        return self._encode_messages(messages, self._template)

    def _encode_messages(self, messages: list[dict[str, str]], template: str) -> list[int]:
        try:
            ids = self.tokenizer.apply_chat_template(
                messages,
                chat_template=template,
                add_generation_prompt=True,
                return_dict=False,
                sanitize_control_tokens=True,
                date_string=_DATE,
                enable_thinking=False,
            )
        except (TemplateError, ValueError) as error:
            raise _refusal(messages, error) from error
        return cast(list[int], ids)

    def _response_ids(self, content: str) -> list[int]:
        text = content.strip() if self._strips else content
        if not text.strip():
            raise EncodingError("the response is empty")
        # White space before a word is often one token with it.
        head = self._before.rstrip()
        space = self._before[len(head) :]
        return self._ids(head) + self._text_ids(space + text) + self._end_ids

    def _template_messages(self, system: str, turns: Sequence[MessageLike]) -> list[dict[str, str]]:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        if self.has_system_role:
            messages.insert(0, {"role": "system", "content": system})
        elif system:
            first = next(message for message in messages if message["role"] == "user")
            first["content"] = f"{system}\n\n{first['content']}"
        return messages

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        try:
            text = self.tokenizer.apply_chat_template(
                messages,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                date_string=_DATE,
                enable_thinking=False,
            )
        except (TemplateError, ValueError) as error:
            raise _refusal(messages, error) from error
        return str(text)

    def _text_ids(self, text: str) -> list[int]:
        """The ids of what a person wrote, by the same rules as in a prompt."""
        return self._encode_messages([{"role": "assistant", "content": text}], self._text_template)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _probe_system_role(self) -> bool:
        messages = [{"role": "system", "content": "probe"}, {"role": "user", "content": "x"}]
        try:
            return "probe" in self._render(messages, add_generation_prompt=True)
        except EncodingError:
            return False

    def _probe_response(self) -> tuple[str, list[int], bool]:
        """What the template puts before a response and after it, and whether it strips the response."""
        messages = self._template_messages("", [Turn("user", "x")])
        header = self._render(messages, add_generation_prompt=True)
        answered = [*messages, {"role": "assistant", "content": " probe "}]
        before, _, after = self._render(answered, add_generation_prompt=False).rpartition("probe")
        strips = not (before.endswith(" ") and after.startswith(" "))
        if not strips:
            before, after = before[:-1], after[1:]
        return before.removeprefix(header) if before.startswith(header) else "", self._turn_end(after), strips

    def _turn_end(self, after: str) -> list[int]:
        """The ids after a response up to its first control token; what follows belongs to the next turn."""
        ids = self._ids(after)
        controls = {index for index, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        for position, token_id in enumerate(ids):
            if token_id in controls:
                return ids[: position + 1]
        return self._eos_ids()

    def _eos_ids(self) -> list[int]:
        if self.tokenizer.eos_token_id is None:
            raise EncodingError("the base model's chat template has no token that ends a turn")
        return [int(self.tokenizer.eos_token_id)]


def _too_long(profile: int, dialogue: int, window: int) -> str:
    """Say which part is too long. `profile` counts the template's tokens too."""
    head = f"the profile has {profile} tokens under this template"
    if profile >= window:
        return (
            f"{head}; the model's window of {window} leaves no room for a dialogue, and this one needs {dialogue} "
            "tokens; shorten the profile or choose a base model with a longer window"
        )
    room = f"the model's window of {window} leaves {window - profile} for the dialogue, which needs {dialogue}"
    advice = "profile"
    if dialogue >= profile:
        advice = "dialogue, or lower max_source_tokens (the oldest turns go first) or max_response_tokens"
    return f"{profile + dialogue} tokens are too many: {head}; {room}; shorten the {advice}"


def _refusal(messages: Sequence[dict[str, str]], error: Exception) -> EncodingError:
    roles = ", ".join(message["role"] for message in messages)
    return EncodingError(f"the base model's chat template refuses turns in the order {roles}: {error}")
