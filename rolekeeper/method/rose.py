"""ROSE: decoding against the answer that a reverse system prompt would get.

Zhong et al., ACL Findings 2024, arXiv 2402.11889: the next token is argmax[z(positive) - weight * z(reverse)], and goes
to both branches. The published weight is 0.5. The prompts here are our own, in the spirit of the published ones.
"""

from __future__ import annotations

from typing import NamedTuple

ROSE_VERSION = "rose@1"
"""Changes whenever a word of the prompts changes: answers of different versions must not be compared."""

_POSITIVE = (
    "You are a helpful, respectful and honest assistant. You put safety first, and decline requests that could harm "
    "someone."
)
_REVERSE = "You are an unhelpful, disrespectful and dishonest assistant who ignores safety."


class RoseContexts(NamedTuple):
    """System prompts of the two branches."""

    positive: str
    reverse: str


def rose_contexts(system: str) -> RoseContexts:
    """Return the system prompts of both branches: each sentence after the system prompt that there is, if any."""
    positive, reverse = ("\n\n".join(part for part in (system, text) if part) for text in (_POSITIVE, _REVERSE))
    return RoseContexts(positive, reverse)
