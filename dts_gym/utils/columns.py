"""Named arrays that grow together, with a row for each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Columns:
    """Arrays of one length by name, with spare rows after the rows in use.

    Parameters
    ----------
    kinds : for every column the shape of a row and the type of its numbers.

    Attributes
    ----------
    arrays : the whole columns with their spare rows, by name.

    Examples
    --------
    >>> columns = Columns({"number": ((), np.int64), "vector": ((2,), np.float64)})
    >>> columns.append(3)
    >>> columns["vector"][1] = [0.5, 1.0]
    >>> len(columns), columns.used("vector").shape, columns.state()["vector"][1]
    (3, (3, 2), array([0.5, 1. ]))
    """

    def __init__(self, kinds: Mapping[str, tuple[tuple[int, ...], DTypeLike]]) -> None:
        self._kinds = dict(kinds)
        self._length = 0
        self._allocate(0)

    def _allocate(self, capacity: int) -> None:
        self.arrays = {name: np.zeros((capacity, *shape), dtype) for name, (shape, dtype) in self._kinds.items()}
        self._capacity = capacity

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, name: str) -> NDArray[Any]:
        """A whole column with its spare rows, for reading and writing rows by number."""
        return self.arrays[name]

    def used(self, name: str) -> NDArray[Any]:
        """A view of a column's rows in use."""
        return self.arrays[name][: self._length]

    def append(self, count: int = 1) -> None:
        """Add rows of zeros."""
        end = self._length + count
        if end > self._capacity:
            kept = self.arrays
            self._allocate(max(16, 2 * self._length, end))
            for name, array in self.arrays.items():
                array[: self._length] = kept[name][: self._length]
        self._length = end

    def shorten(self, length: int) -> None:
        """Keep the first rows only, that many; the rows after them are zeros when they are in use again."""
        for array in self.arrays.values():
            array[length : self._length] = 0
        self._length = length

    def remove(self, row: int) -> None:
        """Remove a row, whose place the last row takes.

        Examples
        --------
        >>> columns = Columns({"number": ((), np.int64)})
        >>> columns.append(3)
        >>> columns["number"][:3] = [7, 8, 9]
        >>> columns.remove(0)
        >>> columns.used("number")
        array([9, 8])
        """
        for array in self.arrays.values():
            array[row] = array[self._length - 1]
        self.shorten(self._length - 1)

    def move(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on in arrays of that many rows, (capacity, ...), at least as many as there are rows in use."""
        for name, array in arrays.items():
            array[: self._length] = self.used(name)
        self.arrays, self._capacity = dict(arrays), len(next(iter(arrays.values())))

    def state(self) -> dict[str, NDArray[Any]]:
        """Copies of the rows in use of all columns, by name."""
        return {name: self.used(name).copy() for name in self._kinds}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the columns that `state` returned; other names are unchanged."""
        self._length = len(state[next(iter(self._kinds))])
        self._allocate(self._length)
        for name, array in self.arrays.items():
            array[:] = state[name]


def stacked(parts: Sequence[Columns], capacity: int) -> dict[str, NDArray[Any]]:
    """Move columns of the same kinds into shared arrays, (parts, capacity, ...), of which they are views from then on.

    Examples
    --------
    >>> parts = [Columns({"number": ((), np.int64)}) for _ in range(2)]
    >>> parts[1].append()
    >>> arrays = stacked(parts, 3)
    >>> arrays["number"][1, 0] = 7
    >>> parts[1].used("number"), arrays["number"].shape
    (array([7]), (2, 3))
    """
    kinds = parts[0]._kinds
    arrays = {name: np.zeros((len(parts), capacity, *shape), dtype) for name, (shape, dtype) in kinds.items()}
    for i, part in enumerate(parts):
        part.move({name: array[i] for name, array in arrays.items()})
    return arrays
