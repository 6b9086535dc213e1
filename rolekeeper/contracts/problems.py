"""Error bodies and list pages of the public API."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class Contract(BaseModel):
    """Base of every contract: immutable, and a field that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ErrorItem(Contract):
    """One thing that is wrong with a request."""

    pointer: str = Field(description="JSON pointer to the item, e.g. /dialogues/3/messages/0/content")
    detail: str = Field(description="What is wrong with it, and what to do")
    line: int | None = Field(default=None, description="1-based line of the file, for JSONL")


class OpenAiError(Contract):
    """The same error in the shape that OpenAI clients read."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Problem(Contract):
    """Every error of the API: RFC 9457 problem details that OpenAI clients can read too."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str | None = None
    errors: tuple[ErrorItem, ...] = ()
    error: OpenAiError


class Page(Contract, Generic[T]):
    """One page of a list. Ask for the next one with `after` = the id of the last item."""

    object: Literal["list"] = "list"
    data: tuple[T, ...]
    has_more: bool
