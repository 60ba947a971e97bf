"""Tables of an experiment's results."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dts_gym.arrays import Array
from dts_gym.experiment import Comparison

Style = Literal["text", "markdown", "csv"]


@dataclass(frozen=True)
class Row:
    """One agent's line of the table; regret is the mean over seeds, with its standard error."""

    agent: str
    regret: float
    standard_error: float
    microseconds_per_round: float
    seeds: int


def standard_error(values: Array) -> Array:
    """Standard error of the mean over the first axis; NaN for a single run.

    Parameters
    ----------
    values : (seeds, ...)

    Returns
    -------
    (...)
    """
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / math.sqrt(len(values)))


def summary(comparison: Comparison) -> list[Row]:
    """A row an agent, in the order given."""
    rows = []
    for label in comparison.labels:
        regret, times = comparison.final_regret(label), comparison.microseconds_per_round(label)
        rows.append(Row(label, float(regret.mean()), float(standard_error(regret)), float(times.mean()), len(regret)))
    return rows


def table(comparison: Comparison, style: Style = "text") -> str:
    """Final regret with standard error, time of a round and number of seeds of every agent.

    Parameters
    ----------
    comparison : what `compare` or `load_records` gave.
    style : "text" (aligned), "markdown", or "csv" (all digits).

    Raises
    ------
    ValueError
        If there is no such style.
    """
    rows = summary(comparison)
    if style == "csv":
        names = ("agent", "regret", "standard_error", "microseconds_per_round", "seeds")
        return _csv([names, *([getattr(row, name) for name in names] for row in rows)])
    header = ("agent", "final regret", "us a round", "seeds")
    cells = [
        (row.agent, plus_minus(row.regret, row.standard_error), f"{row.microseconds_per_round:.1f}", str(row.seeds))
        for row in rows
    ]
    return layout([header, *cells], style)


def plus_minus(mean: float, error: float) -> str:
    """A mean with its standard error, to the error's second digit.

    Examples
    --------
    >>> plus_minus(3154.21, 30.4), plus_minus(7.512, 0.94), plus_minus(12.3, float("nan"))
    ('3154 ± 30', '7.51 ± 0.94', '12.3')
    """
    if not math.isfinite(error):
        return f"{mean:.1f}"
    digits = 1 if error <= 0 else min(max(1 - math.floor(math.log10(error)), 0), 6)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def layout(rows: Sequence[Sequence[str]], style: Style) -> str:
    """Rows of cells, the first one the header, as aligned text or Markdown; ends with a newline.

    Raises
    ------
    ValueError
        If there is no such style.
    """
    if style == "markdown":
        rule = ["---", *("---:" for _ in rows[0][1:])]
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return "".join(f"| {' | '.join(row)} |\n" for row in [escaped[0], rule, *escaped[1:]])
    if style != "text":
        raise ValueError(f"style must be 'text', 'markdown' or 'csv', got {style!r}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(_aligned(row, widths) for row in rows)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
    return "   ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip() + "\n"


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
