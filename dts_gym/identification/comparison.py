"""Rules compared on the same instances: what was run, and the results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.shown import Display, ShownTable
from dts_gym.utils.tables import Style, csv_text, data_frame, layout, mean_interval, share_interval
from dts_gym.utils.validation import choice, integer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Measure = Literal["error", "simple regret"]


class Runs(NamedTuple):
    """Runs of one rule with one budget, in the order of their seeds.

    Attributes
    ----------
    seeds : (R,) seeds.
    recommendations : (R,) recommended actions.
    simple_regrets : (R,) mean reward of the best action less that of the recommended one.
    is_best : (R,) whether the best action was recommended.
    """

    seeds: IntArray
    recommendations: IntArray
    simple_regrets: Array
    is_best: BoolArray

    def of(self, seeds: tuple[int, ...]) -> Runs:
        """The runs of these seeds, in this order; all must be among them."""
        place = {seed: row for row, seed in enumerate(self.seeds.tolist())}
        rows = [place[seed] for seed in seeds]
        return Runs(self.seeds[rows], self.recommendations[rows], self.simple_regrets[rows], self.is_best[rows])


@dataclass(frozen=True, eq=False, repr=False)
class IdentificationComparison(ShownTable):
    """Rules on the same instances: prints as a table with 95 % intervals, the differences paired by seed.

    Parameters
    ----------
    name : the environment or problem, as tables call it.
    labels : labels of the rules, in the order of tables and figures.
    budgets : numbers of rounds, ascending.
    seeds : the seeds; runs of one seed share instance and noise.
    runs : label and budget -> runs in the order of ``seeds``.
    states : the different states of the code that made the runs; none where all were made now.
    """

    name: str
    labels: tuple[str, ...]
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    runs: Mapping[tuple[str, int], Runs]
    states: tuple[Mapping[str, Any], ...] = ()

    def errors(self, label: str, budget: int) -> Array:
        """(seeds,) 1 where the recommended action was not the best, else 0; their mean is the probability of error."""
        return np.asarray(1.0 - self._of(label, budget).is_best)

    def simple_regret(self, label: str, budget: int) -> Array:
        """(seeds,) simple regret."""
        return self._of(label, budget).simple_regrets

    def values(self, measure: Measure, label: str, budget: int) -> Array:
        """(seeds,) errors or simple regret."""
        choice("measure", measure, get_args(Measure))
        return self.errors(label, budget) if measure == "error" else self.simple_regret(label, budget)

    def interval(self, measure: Measure, label: str, budget: int) -> tuple[float, float, float]:
        """Low end, mean and high end of the 95 % interval: Wilson's of errors, Student's t of simple regret, from 0."""
        if measure == "error":
            return share_interval(self.errors(label, budget))
        low, mean, high = mean_interval(self.values(measure, label, budget))
        return low if math.isnan(low) else max(low, 0.0), mean, high

    def table(self, style: Style = "text") -> str:
        """A row for every budget and rule, as text, Markdown or CSV (all digits)."""
        if style == "csv":
            names = ["budget", "rule", "error", "error_low", "error_high", "simple_regret", "seeds"]
            lines = []
            for budget, label in self._cells():
                low, error, high = self.interval("error", label, budget)
                regret = float(self.simple_regret(label, budget).mean())
                lines.append([budget, label, error, low, high, regret, len(self.seeds)])
            return csv_text(names, lines)
        return layout(self.rows(), style, left=2)

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each run: "rule", "budget", "seed", "simple_regret" and "is_best".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        rows = [
            (label, budget, *run)
            for budget, label in self._cells()
            for run in zip(self.seeds, self.simple_regret(label, budget), self._of(label, budget).is_best, strict=True)
        ]
        return data_frame(rows, ["rule", "budget", "seed", "simple_regret", "is_best"])

    def plot(self, measure: Measure = "error", axes: Axes | None = None) -> Axes:
        """Draw the probability of error or the simple regret over budgets, in 95 % bands; returns the axes."""
        from dts_gym.identification.figures import plot_budgets

        return plot_budgets(self, measure, axes)

    def __str__(self) -> str:
        return self.table()

    def _repr_table(self) -> Display:
        count = len(self.seeds)
        return Display(f"{len(self.labels)} rules on {self.name}: {count} seeds", self.rows(), left=2)

    def _cells(self) -> list[tuple[int, str]]:
        return [(budget, label) for budget in self.budgets for label in self.labels]

    def rows(self) -> list[list[str]]:
        """The rows of the table, the first one the header."""
        first = self.labels[0]
        rows = [["budget", "rule", "P(error)", "simple regret", f"P(error) more than {first}'s"]]
        for budget, label in self._cells():
            own = [_shown(self.interval(measure, label, budget)) for measure in get_args(Measure)]
            more = mean_interval(self.errors(label, budget) - self.errors(first, budget))
            rows.append([str(budget), label, *own, "" if label == first else _shown(more)])
        return rows if len(self.labels) > 1 else [row[:-1] for row in rows]

    def _of(self, label: str, budget: int) -> Runs:
        if label not in self.labels:
            raise ValueError(f"label must be one of {self.labels}, got {label!r}")
        asked = integer("budget", budget, 1)
        if asked not in self.budgets:
            raise ValueError(f"budget must be one of {self.budgets}, got {budget!r}")
        return self.runs[label, asked]


def _shown(interval: tuple[float, float, float]) -> str:
    low, mean, high = interval
    return f"{mean:.3f}" if math.isnan(low) else f"{mean:.3f} ({low:.3f}, {high:.3f})"
