"""Figures of regret."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from dts_gym.archives import write_atomically
from dts_gym.experiment import Comparison
from dts_gym.report import plus_minus, standard_error
from dts_gym.tuning import base_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, told apart with any colour vision, without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")
_MAX_POINTS = 1000  # more points than pixels only make the file slow to draw


def regret_figure(comparison: Comparison, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Draw cumulative regret against rounds: means over seeds in bands of one standard error.

    An agent keeps its colour through all its exploration scales; line styles tell these apart.

    Parameters
    ----------
    comparison : what `compare` or `load_records` gave.
    path : of the PNG; its folder must exist.
    title : over the figure; the environment's id if None.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Objects, not pyplot: no global state, so that threads and a user's own figures are left alone.
    labels = comparison.labels
    crowded = len(labels) > 6
    figure = Figure(figsize=(11, 4 + 0.1 * len(labels)) if crowded else (8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, (colour, style) in zip(labels, _looks(comparison), strict=True):
        _curve(axes, comparison, label, colour, style)
    runs = len(comparison.experiment.seeds)
    axes.set_xlabel("Round")
    axes.set_ylabel("Cumulative regret" + (f" (mean of {runs} runs, ± standard error)" if runs > 1 else ""))
    axes.set_title(comparison.experiment.env_id if title is None else title)
    axes.set_xlim(0, comparison.experiment.num_rounds)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if crowded:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small")
    else:
        axes.legend(frameon=False, loc="upper left")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def _curve(axes: Axes, comparison: Comparison, label: str, colour: str, style: str) -> None:
    regret = comparison.regret(label)  # (seeds, m)
    mean, error = regret.mean(axis=0), standard_error(regret)
    name = f"{label}: {plus_minus(float(mean[-1]), float(error[-1]))}"
    keep = np.unique(np.linspace(0, len(mean) - 1, _MAX_POINTS).astype(np.int64))
    rounds, mean, error = comparison.rounds[keep], mean[keep], error[keep]
    rounds, mean, error = np.append(0, rounds), np.append(0.0, mean), np.append(0.0, error)
    axes.plot(rounds, mean, color=colour, linestyle=style, linewidth=1.6, label=name)
    if len(regret) > 1:
        axes.fill_between(rounds, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)


def _looks(comparison: Comparison) -> list[tuple[str, str]]:
    """Colour and line style of every agent."""
    bases = [base_label(spec) for spec in comparison.experiment.agents]
    order = list(dict.fromkeys(bases))
    looks = []
    for i, base in enumerate(bases):
        place, turn = order.index(base), bases[:i].count(base)
        style = _STYLES[(turn + place // len(COLOURS)) % len(_STYLES)]
        looks.append((COLOURS[place % len(COLOURS)], style))
    return looks
