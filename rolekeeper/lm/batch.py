"""Micro-batches under a token budget."""

from __future__ import annotations

from collections.abc import Sequence


def token_budget_batches(lengths: Sequence[int], max_tokens: int, max_rows: int) -> list[list[int]]:
    """Group samples of like length so that a padded batch costs at most `max_tokens` tokens and `max_rows` rows.

    Returns lists of indices into `lengths`; together they hold every index once. The longest come first, so that a
    batch that does not fit in memory fails at once. A sample longer than the budget gets a batch of its own.
    """
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = batches and len(batches[-1]) < max_rows and (len(batches[-1]) + 1) * longest <= max_tokens
        if fits:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = lengths[index]
    return batches


def bin_pack(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group samples so that the sum of the lengths of a group is at most `max_tokens`, the longest first.

    Returns lists of indices into `lengths`; together they hold every index once. A sample longer than the budget gets
    a group of its own.
    """
    bins: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if bins and lengths[index] <= room:
            bins[-1].append(index)
        else:
            bins.append([index])
            room = max_tokens
        room -= lengths[index]
    return bins


def common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    """Return the longest beginning that all prompts share."""
    # Every list lies between the smallest and the largest, and so does its beginning.
    first, last = min(prompts), max(prompts)
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return first[:length]
