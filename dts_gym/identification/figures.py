"""Figures of compared rules: the probability of error, or the simple regret, over budgets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from dts_gym.harness.figures import label_ends, looks
from dts_gym.utils.archives import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dts_gym.identification.comparison import IdentificationComparison, Measure


def plot_budgets(comparison: IdentificationComparison, measure: Measure, axes: Axes | None = None) -> Axes:
    """Draw a mean over budgets for every rule, in bands of its 95 % interval.

    Parameters
    ----------
    comparison : what `dts_gym.compare_identification` returned.
    measure : "error", the probability of error, or "simple regret".
    axes : axes to draw on; None makes a figure with pyplot, which notebooks show by themselves.

    Returns
    -------
    Axes
    """
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.subplots(figsize=(6.8, 4.2), layout="constrained")[1]
    budgets = np.array(comparison.budgets)
    known, ends = looks(comparison.labels), []
    for label in comparison.labels:
        colour, style = known[label]
        spread = [comparison.interval(measure, label, n) for n in comparison.budgets]
        low, mean, high = np.array(spread).T
        axes.plot(budgets, mean, style, color=colour, marker="o", markersize=3)
        if len(comparison.seeds) > 1:
            axes.fill_between(budgets, low, high, color=colour, alpha=0.12, linewidth=0)
        ends.append((float(mean[-1]), label, colour))
    axes.set_xlabel("Budget (rounds)")
    named = "Probability of error" if measure == "error" else "Simple regret"
    axes.set_ylabel(f"{named} (mean of {len(comparison.seeds)} runs, 95 % interval)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    label_ends(axes, ends, 8.0)
    return axes


def budgets_figure(comparison: IdentificationComparison, path: str | os.PathLike[str]) -> None:
    """Draw the probability of error beside the simple regret, as a PNG; its folder must exist."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.0, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    figure.suptitle(comparison.name, fontsize="medium")
    plot_budgets(comparison, "error", left)
    plot_budgets(comparison, "simple regret", right)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))
