"""Tables of an experiment's results."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
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


def cells_table(cells: Mapping[str, Comparison]) -> str:
    """The tables of comparisons by label, as one."""
    rows = [["environment", "agent", "final regret", "us a round", "seeds"]]
    for label, comparison in cells.items():
        for row in summary(comparison):
            regret = plus_minus(row.regret, row.standard_error)
            rows.append([label, row.agent, regret, f"{row.microseconds_per_round:.1f}", str(row.seeds)])
    return layout(rows, "text", left=2)


def cells_csv(comparisons: Sequence[Comparison]) -> str:
    """All digits of comparisons, a column a setting of the environments; no times, which differ from run to run."""
    settings = list(dict.fromkeys(name for one in comparisons for name in one.experiment.env_settings))
    columns = ["environment", *(f"env.{name}" for name in settings), "rounds"]
    rows: list[Sequence[Any]] = [[*columns, "agent", "regret", "standard_error", "seeds"]]
    for comparison in comparisons:
        asked = comparison.experiment
        cell = [asked.env_id, *(asked.env_settings.get(name, "") for name in settings), asked.num_rounds]
        rows += [[*cell, row.agent, row.regret, row.standard_error, row.seeds] for row in summary(comparison)]
    return _csv(rows)


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


def layout(rows: Sequence[Sequence[str]], style: Style, left: int = 1) -> str:
    """Rows of cells, the first one the header, as aligned text or Markdown; ends with a newline.

    The first ``left`` columns are aligned to the left, the others to the right.

    Raises
    ------
    ValueError
        If there is no such style.
    """
    if style == "markdown":
        rule = ["---:" if i >= left else "---" for i in range(len(rows[0]))]
        escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        return "".join(f"| {' | '.join(row)} |\n" for row in [escaped[0], rule, *escaped[1:]])
    if style != "text":
        raise ValueError(f"style must be 'text', 'markdown' or 'csv', got {style!r}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(_aligned(row, widths, left) for row in rows)


def _aligned(row: Sequence[str], widths: Sequence[int], left: int) -> str:
    pairs = enumerate(zip(row, widths, strict=True))
    cells = [cell.rjust(width) if i >= left else cell.ljust(width) for i, (cell, width) in pairs]
    return "   ".join(cells).rstrip() + "\n"


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
