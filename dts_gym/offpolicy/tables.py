"""What `evaluate` returns: estimates as a table, as a data frame and as a figure."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dts_gym.utils.archives import write_atomically
from dts_gym.utils.shown import Display, Shown, ShownTable
from dts_gym.utils.tables import data_frame, marked

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class Estimate(Shown):
    """The estimate of a policy's value by one estimator.

    Parameters
    ----------
    name : the estimator.
    value : the estimate.
    lower, upper : ends of the interval; infinite or NaN where there is none.
    interval : the kind of interval.
    standard_error : standard error, or posterior standard deviation; NaN where there is none.
    effective_sample_size : ``(sum w)^2 / sum w^2`` of the policy's weights on the log; NaN without propensities.
    max_weight : the largest weight; NaN without propensities.
    approximate : whether the posterior behind it is an approximation.
    """

    name: str
    value: float
    lower: float
    upper: float
    interval: str
    standard_error: float
    effective_sample_size: float
    max_weight: float
    approximate: bool


class Evaluation(ShownTable):
    """Estimates of a policy's value by name, with warnings.

    Parameters
    ----------
    estimates : by the estimators' names.
    warnings : what the estimates need and the log may not fulfil, a sentence each.
    num_rounds : number of rounds in the log.
    level : probability of the intervals.
    """

    def __init__(
        self, estimates: Mapping[str, Estimate], warnings: tuple[str, ...], num_rounds: int, level: float
    ) -> None:
        self.estimates, self.warnings = dict(estimates), warnings
        self.num_rounds, self.level = num_rounds, level

    def __getitem__(self, name: str) -> Estimate:
        """The estimate of an estimator; KeyError if it was not asked for."""
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the estimators."""
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def _repr_table(self) -> Display:
        rows: list[list[str]] = [["estimator", "interval", "value", "lower", "upper", "effective rounds", "max weight"]]
        for each in self.estimates.values():
            numbers = (each.value, each.lower, each.upper, each.effective_sample_size, each.max_weight)
            cells = ["" if math.isnan(value) else f"{value:.4g}" for value in numbers]
            rows.append([marked(each.name, each.approximate), each.interval, *cells])
        approximate = any(each.approximate for each in self.estimates.values())
        notes = ["approximate: the posterior is that of dTS, by expansion or particles"] if approximate else []
        return Display(
            f"value of a policy from {self.num_rounds} rounds, intervals at {self.level:.0%}", rows, notes, 2
        )

    def __repr__(self) -> str:
        told = "".join(f"\nwarning: {text}" for text in self.warnings)
        return super().__repr__() + told

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from html import escape

        return super()._repr_html_() + "".join(f"<p>warning: {escape(text)}</p>" for text in self.warnings)

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each estimator.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return data_frame([asdict(each) for each in self.estimates.values()])

    def plot(self, axes: Axes | None = None, truth: float | None = None) -> Axes:
        """Draw the estimates with their intervals, one a row.

        Parameters
        ----------
        axes : axes to draw on; None makes a figure with pyplot, which notebooks show by themselves.
        truth : the true value, where it is known: a line.
        """
        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.subplots(figsize=(6.4, 1.2 + 0.4 * len(self)), layout="constrained")[1]
        from dts_gym.harness.figures import COLOURS

        drawn = axes
        for row, each in enumerate(self.estimates.values()):
            colour = COLOURS[0] if each.interval == "credible" else COLOURS[1]
            low, high = (each.value if not math.isfinite(end) else end for end in (each.lower, each.upper))
            drawn.plot([low, high], [row, row], color=colour, linewidth=2)
            drawn.plot([each.value], [row], "o", color=colour)
            if math.isinf(each.upper):
                drawn.annotate("", (1, row), (each.value, row), xycoords=("axes fraction", "data"), textcoords="data",
                               arrowprops={"arrowstyle": "->", "color": colour})  # fmt: skip
        if truth is not None:
            drawn.axvline(truth, color="0.4", linestyle="--")
        names = [marked(each.name, each.approximate) for each in self.estimates.values()]
        drawn.set_yticks(range(len(names)), names)
        drawn.invert_yaxis()
        drawn.set_xlabel(f"value, with intervals at {self.level:.0%}")
        return drawn

    def figure(self, path: str | os.PathLike[str], truth: float | None = None) -> None:
        """Write what `plot` draws to a PNG whose folder exists."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 1.2 + 0.4 * len(self)), layout="constrained")
        FigureCanvasAgg(figure)
        self.plot(figure.add_subplot(), truth)
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))

    def text(self) -> str:
        """The table with its notes and warnings."""
        return repr(self)
