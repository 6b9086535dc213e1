from __future__ import annotations

from rolekeeper.method.rose import rose_contexts


def test_each_sentence_comes_after_the_system_prompt_that_there_is() -> None:
    alone, beside = rose_contexts(""), rose_contexts("You keep a light.")
    assert alone.positive != alone.reverse
    assert beside == tuple(f"You keep a light.\n\n{sentence}" for sentence in alone)
