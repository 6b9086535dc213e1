"""Keys and values of the rows that are being answered, in place.

All live rows end at the same column, whatever their length: the token of a pass goes into one column of all rows, which
is one copy, and what a row does not see lies before its start. A row that comes later is put so that it ends there too.

Shapes: B rows, K key heads, C columns, W columns of the live window, D head size, N new tokens of all new rows, flat.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

CHUNK = 64
"""The cache grows by so many columns. Once they are used up, the live window moves to the front."""


class RowCache:
    """Rows 0 to `num_live` - 1 are live. `starts` are their first columns; `clock` is the column of the next token.

    A layer's tensors are made when its first keys come: they show its sizes.
    """

    def __init__(self, num_rows: int) -> None:
        self._num_rows = num_rows
        self._num_columns = 0
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}
        self.starts: list[int] = []
        self.clock = 0

    @property
    def num_live(self) -> int:
        """How many rows are live."""
        return len(self.starts)

    @property
    def num_layers(self) -> int:
        """How many layers have kept something."""
        return len(self._layers)

    @property
    def bytes_per_token(self) -> int:
        """What one token takes in all layers."""
        sizes = (states[0, :, 0].nbytes for layer in self._layers.values() for states in layer)
        return sum(sizes)

    def first_column(self) -> int:
        """The first column that a live row sees."""
        return min(self.starts, default=self.clock)

    def make_room(self, lengths: Sequence[int]) -> list[int]:
        """Make room for the next token of each live row and for new rows of these lengths, which end beside it.

        Returns where each new row starts. A new row may be longer than the longest live one only if there is none.
        """
        if not self.starts:
            self.clock = max(lengths) - 1
        if self.clock >= self._num_columns:
            self._move_to_front()
        return [self.clock + 1 - length for length in lengths]

    def advance(self, new_starts: Iterable[int]) -> None:
        """Count the column that a pass has filled, and the rows that it has begun."""
        self.starts += new_starts
        self.clock += 1

    def drop(self, row: int) -> None:
        """Drop a row; the last one takes its place."""
        last = self.num_live - 1
        if row != last:
            seen = slice(self.starts[last], self.clock)
            for layer in self._layers.values():
                for states_BKCD in layer:
                    states_BKCD[row, :, seen] = states_BKCD[last, :, seen]
        self.starts[row] = self.starts[last]
        self.starts.pop()

    def layer(self, index: int, key_1KTD: Tensor, value_1KTD: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values [B, K, C, D] of a layer, which holds states of this kind."""
        if index not in self._layers:
            self._layers[index] = (self._empty(key_1KTD), self._empty(value_1KTD))
        return self._layers[index]

    def _empty(self, states_1KTD: Tensor) -> Tensor:
        # Zeros: hidden columns take part in products, and what is left in memory may be NaN.
        _, heads, _, size = states_1KTD.shape
        return states_1KTD.new_zeros(self._num_rows, heads, self._num_columns, size)

    def _move_to_front(self) -> None:
        first = min(self.starts, default=0)
        width = self.clock - first
        self._num_columns = max(self._num_columns, -(-(width + 1) // CHUNK) * CHUNK + CHUNK)
        for index, layer in self._layers.items():
            self._layers[index] = (self._moved(layer[0], first), self._moved(layer[1], first))
        self.starts = [start - first for start in self.starts]
        self.clock = width

    def _moved(self, states_BKCD: Tensor, first: int) -> Tensor:
        moved_BKCD = self._empty(states_BKCD)
        live = states_BKCD[: self.num_live, :, first : self.clock]
        moved_BKCD[: self.num_live, :, : self.clock - first] = live
        return moved_BKCD


def where_to(first_row: int, starts: Sequence[int], clock: int) -> tuple[Tensor, Tensor]:
    """Return the rows and columns [N] of the tokens of new rows, the first of which is row `first_row`."""
    rows_N = torch.cat([torch.full((clock + 1 - start,), first_row + i) for i, start in enumerate(starts)])
    columns_N = torch.cat([torch.arange(start, clock + 1) for start in starts])
    return rows_N, columns_N
