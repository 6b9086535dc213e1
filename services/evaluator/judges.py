"""What decides whether an answer is a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rolekeeper.method.refusal import is_refusal

Judge = Callable[[str], bool]
"""Says whether an answer is a refusal."""

PHRASES = "phrases@1"
"""The number grows when the list of phrases changes: rates of different lists must not be compared."""

JUDGES: Mapping[str, Judge] = {PHRASES: is_refusal}
