"""Tables of numbers in text files, whose damage is reported with its line and its column."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "index", "probability", "label"]  # a label: all cells are whole numbers, or none is a number
_EXPECTED = {"number": "finite numbers", "index": "whole numbers from 0", "probability": "probabilities in 0..1"}


def read_table(
    path: str | os.PathLike[str], kinds: Mapping[str, Kind], skip: int = 0, needed: Sequence[str] = ()
) -> dict[str, NDArray[Any]]:
    """The columns of a CSV file with a header, as numbers or as text.

    Parameters
    ----------
    path : text file in UTF-8.
    kinds : what the cells of a column must be, by a regular expression for its whole name; those of others are text.
    skip : lines before the header.
    needed : names of columns that must be there.

    Raises
    ------
    ValueError
        If a cell is not of its column's kind, a row has too few or too many cells, or a column lacks; the message names
        the line, counted from 1, and the column.
    """
    place = os.fspath(path)
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            for _ in range(skip):
                file.readline()
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            _check_header(header, needed, place, skip + 1)
            cells: list[list[Any]] = [[] for _ in header]
            known = [_kind_of(name, kinds) for name in header]
            for row in reader:
                if not row:
                    continue
                line = reader.line_num + skip
                if len(row) != len(header):
                    raise ValueError(
                        f"path must have {len(header)} cells in each line, got {len(row)} in line {line} of {place!r}"
                    )
                for column, kind, name, cell in zip(cells, known, header, row, strict=True):
                    if kind == "label":
                        column.append(_label(cell, column[:1], place, line, name))
                    else:
                        column.append(cell if kind is None else as_number(cell, place, line, name, kind))
    except UnicodeDecodeError as error:
        raise ValueError(f"path must be a text file in UTF-8, got {place!r}: {error}") from error
    except csv.Error as error:
        raise ValueError(f"path must be a CSV file, got {place!r}: {error}") from error
    if not cells or not cells[0]:
        raise ValueError(f"path must have a line of numbers or more below its header, got {place!r}")
    return {name: np.array(column) for name, column in zip(header, cells, strict=True)}


def _kind_of(name: str, kinds: Mapping[str, Kind]) -> Kind | None:
    return next((kind for pattern, kind in kinds.items() if re.fullmatch(pattern, name)), None)


def _label(cell: str, first: Sequence[Any], place: str, line: int, column: str) -> Any:
    """A cell of labels: a whole number or a word, as the ``first`` one is, if there is one."""
    word = cell.strip()
    try:
        float(word)
    except ValueError:
        if word and (not first or isinstance(first[0], str)):
            return word
    if first and isinstance(first[0], str):
        raise ValueError(
            f"path must hold words, as the first round does, got {cell!r:.60} in line {line}, column {column} of "
            f"{place!r}"
        )
    return as_number(cell, place, line, column, "index")


def as_number(cell: str, place: str, line: int, column: object, kind: Kind = "number") -> float:
    """The number of a kind in a cell; ValueError that names file, line and column."""
    try:
        value = float(cell)
    except ValueError:
        value = np.nan
    fits = bool(np.isfinite(value))
    if kind == "index":
        fits = fits and value >= 0 and value.is_integer()
    elif kind == "probability":
        fits = 0.0 <= value <= 1.0
    if not fits:
        raise ValueError(
            f"path must hold {_EXPECTED[kind]}, got {cell!r:.60} in line {line}, column {column} of {place!r}"
        )
    return value


def _check_header(header: Sequence[str], needed: Sequence[str], place: str, line: int) -> None:
    lacking = [name for name in needed if name not in header]
    if lacking or len(set(header)) != len(header):
        what = f"no column {lacking[0]!r}" if lacking else "a column's name twice"
        raise ValueError(f"path must have a header of column names, got {what} in line {line} of {place!r}")
