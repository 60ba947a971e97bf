"""How objects print: a line of facts or a small table, as text and, in a notebook, as HTML."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from dts_gym.utils.tables import footnotes, html_table, layout


class Shown:
    """An object that prints as its name with the facts of ``_repr_facts``, by default a dataclass's fields.

    A dataclass that derives from it must be made with ``repr=False``, else it gets a repr of its own.

    Examples
    --------
    >>> import numpy as np
    >>> from dataclasses import dataclass
    >>> @dataclass(repr=False)
    ... class Measured(Shown):
    ...     values: np.ndarray
    ...     noise_std: float
    >>> Measured(np.zeros((100, 5)), 0.1)
    Measured(values=array of shape (100, 5), noise_std=0.1)
    """

    def _repr_facts(self) -> Mapping[str, Any]:
        """The facts to show, by name; None is left out."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def _repr_name(self) -> str:
        """The name before the facts."""
        return type(self).__name__

    def _repr_words(self) -> dict[str, str]:
        return {name: _SHORT.repr(value) for name, value in self._repr_facts().items() if value is not None}

    def __repr__(self) -> str:
        return f"{self._repr_name()}({', '.join(f'{name}={text}' for name, text in self._repr_words().items())})"

    def _repr_html_(self) -> str:
        return html_table([[self._repr_name(), ""], *self._repr_words().items()], left=2)


class Display(NamedTuple):
    """A table with what it shows.

    Attributes
    ----------
    title : line above the table.
    rows : rows of cells, the first one the header.
    notes : meanings of the marks in the table.
    left : number of columns aligned to the left.
    """

    title: str
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    left: int = 1


class ShownTable(ABC):
    """An object that prints as a table under a title."""

    @abstractmethod
    def _repr_table(self) -> Display:
        """The table."""

    def __repr__(self) -> str:
        title, rows, notes, left = self._repr_table()
        return f"{title}\n{layout(rows, 'text', left)}{footnotes(notes)}".rstrip()

    def _repr_html_(self) -> str:
        title, rows, notes, left = self._repr_table()
        return html_table(rows, left, title=title, notes=notes)


class _Short(reprlib.Repr):
    """Values in a few characters: arrays by their shape, numbers to six digits, functions by their name."""

    def __init__(self) -> None:
        super().__init__()
        self.maxother = self.maxstring = 200
        self.maxlevel = 3

    def repr_ndarray(self, value: Any, level: int) -> str:
        return f"array of shape {value.shape}"

    def repr_float(self, value: float, level: int) -> str:
        return repr(float(f"{value:.6g}"))

    repr_float64 = repr_float32 = repr_float

    def repr_int64(self, value: Any, level: int) -> str:
        return str(value)

    repr_int32 = repr_int64

    def repr_function(self, value: Any, level: int) -> str:
        return str(value.__qualname__)


_SHORT = _Short()
