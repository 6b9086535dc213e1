"""Settings that hold a secret. What the examples hold in their place, and what can be guessed, is refused at start."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

PLACEHOLDER = "change-me"
"""Stands in the examples wherever a secret belongs."""

MIN_TOKEN_CHARACTERS = 16
_MAKE_ONE = "make one with `openssl rand -hex 32`"


def _refuse_weak_token(token: str) -> str:
    if token == PLACEHOLDER or len(token) < MIN_TOKEN_CHARACTERS:
        raise ValueError(f"it is {PLACEHOLDER!r} or has fewer than {MIN_TOKEN_CHARACTERS} characters; {_MAKE_ONE}")
    return token


def _refuse_placeholder(url: str) -> str:
    if urlsplit(url).password == PLACEHOLDER:
        raise ValueError(f"its password is {PLACEHOLDER!r}, as in the example; {_MAKE_ONE}")
    return url


ServiceToken = Annotated[str, AfterValidator(_refuse_weak_token)]
"""The token with which our own processes call each other."""

ServerUrl = Annotated[str, AfterValidator(_refuse_placeholder)]
"""Where PostgreSQL or Redis is, with its password."""
