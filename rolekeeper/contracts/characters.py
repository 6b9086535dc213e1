"""Characters, dialogue samples and uploaded files."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from rolekeeper.contracts.methods import Turns
from rolekeeper.contracts.problems import Contract

Role = Literal["system", "user", "assistant"]

MAX_NAME_CHARS = 200
MAX_PROFILE_CHARS = 20_000
MAX_MESSAGE_CHARS = 100_000
MAX_MESSAGES = 400


class Context(StrEnum):
    """The system turn that training or evaluation uses: none, as in the paper, or the role profile."""

    PLAIN = "plain"
    ROLE = "role"


class Message(Contract):
    """One turn of a dialogue."""

    role: Role
    content: str = Field(min_length=1, max_length=MAX_MESSAGE_CHARS)


class Dialogue(Contract):
    """One dialogue sample: the turns before, and last the assistant's response that is learned."""

    messages: tuple[Message, ...] = Field(min_length=1, max_length=MAX_MESSAGES)

    def up_to_responses(self, turns: Turns) -> list[tuple[Message, ...]]:
        """Return the messages up to the last response; or up to each that follows a user turn, the last one included.

        An assistant's turn before any user turn is a greeting, and no response.
        """
        ends = [len(self.messages)] if turns == "last" else [*self._ends_of_earlier_responses(), len(self.messages)]
        return [self.messages[:end] for end in ends]

    def _ends_of_earlier_responses(self) -> list[int]:
        roles = [message.role for message in self.messages[:-1]]
        first_user = roles.index("user") if "user" in roles else len(roles)
        return [end for end, role in enumerate(roles, start=1) if end > first_user and role == "assistant"]


class RoleProfile(Contract):
    """The text that defines a character."""

    name: str = Field(min_length=1, max_length=MAX_NAME_CHARS)
    profile: str = Field(min_length=1, max_length=MAX_PROFILE_CHARS)


class CharacterCreate(RoleProfile):
    """What a platform submits. Exactly one of `dialogues` and `dialogue_file` is given."""

    dialogues: tuple[Dialogue, ...] | None = None
    dialogue_file: str | None = Field(default=None, description="Id of an uploaded JSONL file")


class Character(RoleProfile):
    """A stored character. Its dialogues are immutable and named by their digest."""

    id: str
    object: Literal["character"] = "character"
    created_at: datetime
    num_dialogues: int
    num_messages: int
    dialogues_sha256: str
    notes: tuple[str, ...] = Field(default=(), description="What was changed or ignored on the way in")


class UploadedFile(Contract):
    """An uploaded file, in OpenAI's shape."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int = Field(description="Unix seconds")
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    sha256: str
