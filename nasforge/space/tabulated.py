"""A function of choices as an array: the number of its value for every combination of options.

Functions of many choices (which states of a cell are used) have many combinations and few values, so each value is
kept once, and what is computed from a table is computed for its values, not for its combinations.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.intp]


@final
class Tabulated(Mapping[tuple[int, ...], Any]):
    """Values by option indices, `table[i, j, ...]`; read-only.

    Attributes:
        numbers: one axis for each choice, the number of the value in `distinct`.
        distinct: the values, in order of first appearance.
    """

    __slots__ = ("distinct", "numbers")

    def __init__(self, numbers: Numbers, distinct: Sequence[Any]) -> None:
        """Take numbers of values, and the values."""
        self.numbers, self.distinct = numbers, tuple(distinct)

    @classmethod
    def of(cls, shape: Sequence[int], values: Sequence[Any]) -> Tabulated:
        """Number the values, given for all combinations in the order of a product."""
        numbers, distinct = numbered(values)
        return cls(numbers.reshape(tuple(shape)), distinct)

    def map(self, function: Callable[[Any], Any]) -> Tabulated:
        """Return the table of `function(value)`, called once for each value."""
        numbers, distinct = numbered([function(value) for value in self.distinct])
        return Tabulated(numbers[self.numbers], distinct)

    def __getitem__(self, key: tuple[int, ...]) -> Any:
        if len(key) != self.numbers.ndim or any(not 0 <= i < n for i, n in zip(key, self.numbers.shape, strict=True)):
            raise KeyError(key)
        return self.distinct[self.numbers[key]]

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return itertools.product(*map(range, self.numbers.shape))

    def __len__(self) -> int:
        return int(self.numbers.size)


def numbered(values: Sequence[Any]) -> tuple[Numbers, list[Any]]:
    """Return the number of each value, and the distinct values in order of first appearance.

    Values are equal if they have one type too: 1, 1.0 and True are three.
    """
    number: dict[Any, int] = {}
    found = [number.setdefault((type(value), value), len(number)) for value in values]
    return np.asarray(found, dtype=np.intp), [value for _, value in number]


def ranked(columns: Sequence[npt.NDArray[Any]]) -> tuple[Numbers, Numbers]:
    """Return for the rows of equally long integer columns: where each distinct row comes first, and the row of each.

    Rows are numbered in lexical order.
    """
    key = np.zeros(len(columns[0]), dtype=np.int64)
    limit = 1
    for column in columns:
        low, high = int(column.min()), int(column.max())
        if low == high:
            continue
        if limit * (high - low + 1) >= 1 << 62:
            first, key = _first_and_rank(key, limit)
            limit = len(first)
        key = key * (high - low + 1) + (column - low)
        limit *= high - low + 1
    return _first_and_rank(key, limit)


def _first_and_rank(key: npt.NDArray[np.int64], limit: int) -> tuple[Numbers, Numbers]:
    if limit > 4 * len(key) + 4096:
        _, first, rank = np.unique(key, return_index=True, return_inverse=True)
        return first, rank.reshape(-1)
    place = np.full(limit, -1, dtype=np.intp)
    place[key[::-1]] = np.arange(len(key) - 1, -1, -1)  # the last write, the first place, stays
    present = place >= 0
    return place[present], (np.cumsum(present) - 1)[key]
