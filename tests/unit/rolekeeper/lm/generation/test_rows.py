from __future__ import annotations

import torch

from rolekeeper.lm.generation.rows import CHUNK, RowCache, where_to


def fill(cache: RowCache, lengths: list[int], value: float) -> None:
    """Let rows of these lengths in; what is new has the row's number after its point."""
    starts = cache.make_room(lengths)
    states = torch.zeros(1, 1, 1, 1)
    for layer in cache.layer(0, states, states):
        layer[: cache.num_live, :, cache.clock] = value
        for number, start in enumerate(starts, start=cache.num_live):
            layer[number, :, start : cache.clock + 1] = value + number / 10
    cache.advance(starts)


def row(cache: RowCache, number: int) -> list[float]:
    states = torch.zeros(1, 1, 1, 1)
    keys, values = cache.layer(0, states, states)
    seen = slice(cache.starts[number], cache.clock)
    assert torch.equal(keys[number, 0, seen], values[number, 0, seen])
    return [round(float(value), 1) for value in keys[number, 0, seen].flatten()]


def test_rows_end_at_one_column_and_the_last_takes_a_free_place() -> None:
    cache = RowCache(3)
    fill(cache, [4, 2], value=1)
    fill(cache, [3], value=2)
    assert [row(cache, 0), row(cache, 1), row(cache, 2)] == [[1, 1, 1, 1, 2], [1.1, 1.1, 2], [2.2, 2.2, 2.2]]
    assert (cache.starts, cache.clock) == ([0, 2, 2], 5)
    cache.drop(0)
    assert [row(cache, 0), row(cache, 1)] == [[2.2, 2.2, 2.2], [1.1, 1.1, 2]]
    cache.drop(1)
    cache.drop(0)
    fill(cache, [6], value=3)
    assert (row(cache, 0), cache.clock) == ([3] * 6, 6)


def test_the_window_moves_to_the_front_and_grows() -> None:
    cache = RowCache(2)
    fill(cache, [2], value=0)
    expected = [0.0, 0.0]
    for step in range(1, 3 * CHUNK):
        fill(cache, [], value=step)
        expected.append(step)
    assert row(cache, 0) == expected
    fill(cache, [5], value=-1)
    cache.drop(0)
    clock = cache.clock
    for step in range(4 * CHUNK):
        fill(cache, [], value=step)
    assert row(cache, 0) == [-0.9] * 5 + [float(step) for step in range(4 * CHUNK)]
    assert cache.clock < clock + 4 * CHUNK


def test_where_new_tokens_go() -> None:
    rows_N, columns_N = where_to(2, [3, 5], clock=5)
    assert rows_N.tolist() == [2, 2, 2, 3]
    assert columns_N.tolist() == [3, 4, 5, 5]
