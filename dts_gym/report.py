"""Tables of an experiment's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dts_gym.experiment import Comparison
from dts_gym.utils.tables import Style, _csv, layout, plus_minus, standard_error


@dataclass(frozen=True)
class Row:
    """One agent's line of the table; regret is the mean over seeds, with its standard error."""

    agent: str
    regret: float
    standard_error: float
    microseconds_per_round: float
    seeds: int


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
