"""Figures of regret."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import isotonic_regression

from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.tables import MARK, marked, plus_minus, standard_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dts_gym.harness.aggregates import Aggregates
    from dts_gym.harness.experiment import Comparison
    from dts_gym.harness.tuning import TuningResult

# Okabe and Ito's palette, distinguishable with any colour vision, without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")
# An agent has the same look in every figure. Agents that are rarely drawn together share a colour.
_LOOKS = {
    "dTS": (COLOURS[0], "-"),
    "dUCB": (COLOURS[0], ":"),
    "IDS": (COLOURS[0], "--"),
    "Greedy": (COLOURS[0], "-."),
    "HierTS": (COLOURS[3], "-"),
    "MarginalLinTS": (COLOURS[4], "-"),
    "LinTS": (COLOURS[1], "-"),
    "LinUCB": (COLOURS[2], "-"),
    "GLM-TS": (COLOURS[1], "--"),
    "UCB-GLM": (COLOURS[2], "--"),
    "TunedTS": (COLOURS[3], "--"),
    "TunedUCB": (COLOURS[3], ":"),
    "MixTS": (COLOURS[4], "--"),
    "MixUCB": (COLOURS[4], ":"),
    "LaplaceDPS": (COLOURS[6], "--"),
    "dTS (branch 0)": (COLOURS[5], "-."),
    "dTS (approximation linearised)": (COLOURS[5], "--"),
    "dTS (approximation deck)": (COLOURS[6], ":"),
    "dTS (noise_std 1)": (COLOURS[5], ":"),
    "JointTS": (COLOURS[6], "-."),
}
END_NOTE = f"{MARK} tuned exploration at the smallest or largest value tried: the best may lie beyond"
_MAX_POINTS = 1000  # a curve with more points than pixels only takes longer to draw


def regret_figure(comparison: Comparison, path: str | os.PathLike[str], title: str | None = None) -> None:
    """Draw cumulative regret against rounds: means over seeds in bands of one standard error, labelled at their ends.

    Parameters
    ----------
    comparison : what `compare` or `load_records` returned.
    path : file of the PNG; its folder must exist.
    title : text above the figure; the environment's id if None.
    """
    _to_file(path, len(comparison.labels), lambda axes: plot_regret(comparison, axes, title))


def profiles_figure(aggregates: Aggregates, path: str | os.PathLike[str]) -> None:
    """Write the PNG of what `plot_profiles` draws; the file's folder must exist."""
    _to_file(path, len(aggregates.agents), lambda axes: plot_profiles(aggregates, axes))


def _to_file(path: str | os.PathLike[str], num_lines: int, draw: Callable[[Axes], object]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Figure objects instead of pyplot: there is no global state, so threads and a user's own figures are not disturbed.
    figure = Figure(figsize=_size(num_lines), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=150))


def plot_regret(comparison: Comparison, axes: Axes | None = None, title: str | None = None) -> Axes:
    """Draw cumulative regret against rounds on axes: what `regret_figure` writes to a file.

    An agent keeps its colour through all its exploration scales; line styles distinguish these. A tuned agent whose
    scale is the best at an end of those tried is marked, with a note below.

    Parameters
    ----------
    comparison : what `compare` or `load_records` gave.
    axes : to draw on; None makes a figure with pyplot, which notebooks show by themselves.
    title : over the axes; the environment's id if None.
    """
    beyond, asked = comparison.ends, comparison.experiment
    axes = _new_axes(len(comparison.labels)) if axes is None else axes
    ends = [
        regret_curve(axes, comparison, label, colour, style, marked(label, label in beyond))
        for label, (colour, style) in zip(comparison.labels, _looks(comparison), strict=True)
    ]
    axes.set_title(plain(asked.env_id if title is None else title))
    _finish(axes, asked.num_rounds, len(asked.seeds), "Cumulative regret", END_NOTE if beyond else "")
    label_ends(axes, ends)
    return axes


def plot_run(values: Array, name: str, axes: Axes | None = None) -> Axes:
    """Draw what one run gathered over its rounds, or the mean of several in a band of one standard error.

    Parameters
    ----------
    values : (n,) after every round, or (N, n) of N runs.
    name : name of the values.
    axes : axes to draw on; None makes a figure with pyplot.
    """
    axes = _new_axes(1) if axes is None else axes
    runs = np.atleast_2d(values)
    rounds = np.arange(1, runs.shape[1] + 1)
    _curve(axes, rounds, runs, COLOURS[0], "-", name)
    _finish(axes, len(rounds), len(runs), name)
    return axes


def plot_scales(result: TuningResult, axes: Axes | None = None) -> Axes:
    """Draw final regret over the exploration scales that were tried, the best one of each agent as a full dot.

    Parameters
    ----------
    result : what `tune` gave.
    axes : to draw on; None makes a figure with pyplot.
    """
    axes = _new_axes(len(result.regret)) if axes is None else axes
    known, ends = looks(list(result.regret)), []
    for label, points in result.regret.items():
        colour, style = known[label]
        scales = sorted(points)
        means = [float(points[scale].mean()) for scale in scales]
        errors = [float(standard_error(points[scale])) for scale in scales]
        axes.errorbar(scales, means, errors, color=colour, linestyle=style, marker="o", mfc="white", capsize=2)
        best = result.best[label]
        axes.plot(best, means[scales.index(best)], "o", color=colour, zorder=3)
        ends.append((means[-1], marked(f"{label}: best at {best:g}", label in result.ends), colour))
    axes.set_xscale("log")
    axes.set_xlabel("Exploration scale" + (f"\n{END_NOTE}" if result.ends else ""))
    axes.set_ylabel("Final regret (mean of runs, ± standard error)")
    _frame(axes)
    label_ends(axes, ends)
    return axes


def plot_profiles(aggregates: Aggregates, axes: Axes | None = None) -> Axes:
    """Draw performance profiles: the share of runs whose relative regret is at most a threshold, in bands.

    Parameters
    ----------
    aggregates : what `dts_gym.aggregate` returned.
    axes : to draw on; None makes a figure with pyplot.
    """
    agents = aggregates.agents
    axes = _new_axes(len(agents)) if axes is None else axes
    largest = max(float(cell[agent].max()) for cell in aggregates.cells.values() for agent in agents)
    thresholds, known = np.linspace(0.0, largest, 200), looks(agents)
    for agent in agents:
        (low, share, high), (colour, style) = aggregates.profile(agent, thresholds), known[agent]
        axes.plot(thresholds, share, color=colour, linestyle=style, label=plain(agent))
        axes.fill_between(thresholds, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel(f"Regret relative to {plain(aggregates.reference)}'s")
    axes.set_ylabel(f"Share of runs with at most that, in {len(aggregates.cells)} cells")
    _frame(axes)
    axes.legend(frameon=False, loc="lower right")
    return axes


def plain(text: str) -> str:
    """Text that a figure shows as it is: matplotlib reads text between two dollar signs as a formula.

    Examples
    --------
    >>> print(plain("from $5 to $9"))
    from \\$5 to \\$9
    """
    return text.replace("$", r"\$")


def regret_curve(
    axes: Axes, comparison: Comparison, label: str, colour: str, style: str, name: str | None = None
) -> tuple[float, str, str]:
    """Draw one agent's mean cumulative regret in a band of one standard error.

    Returns
    -------
    float, str, str
        The curve's last height, its text (``name``, else the label, with the final regret) and its colour, as arguments
        for `label_ends`.
    """
    return _curve(axes, comparison.rounds, comparison.regret(label), colour, style, name or label)


def _curve(axes: Axes, rounds: IntArray, values: Array, colour: str, style: str, name: str) -> tuple[float, str, str]:
    """Draw the mean of runs (runs, m) at rounds (m,) in a band of one standard error; returns as `regret_curve`."""
    mean, error = values.mean(axis=0), standard_error(values)
    text = f"{name}: {plus_minus(float(mean[-1]), float(error[-1]))}"
    keep = np.unique(np.linspace(0, len(mean) - 1, _MAX_POINTS).astype(np.int64))
    rounds, mean, error = rounds[keep], mean[keep], error[keep]
    rounds, mean, error = np.append(0, rounds), np.append(0.0, mean), np.append(0.0, error)
    axes.plot(rounds, mean, color=colour, linestyle=style, linewidth=1.6, label=plain(text))
    if len(values) > 1:
        axes.fill_between(rounds, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
    return float(mean[-1]), text, colour


def _new_axes(curves: int) -> Axes:
    """The axes of a new figure that pyplot knows, wide enough for names beside the curves."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=_size(curves), layout="constrained")[1]


def _size(curves: int) -> tuple[float, float]:
    return 9.5, 4.8 + 0.1 * max(curves - 8, 0)


def _finish(axes: Axes, num_rounds: int, runs: int, name: str, note: str = "") -> None:
    """Label and limit axes whose curves go over rounds."""
    axes.set_xlabel("Round" + (f"\n{note}" if note else ""))
    axes.set_ylabel(plain(name) + (f" (mean of {runs} runs, ± standard error)" if runs > 1 else ""))
    axes.set_xlim(0, num_rounds)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if axes.dataLim.y0 < 0 else 0.0)
    _frame(axes)


def _frame(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def looks(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and line style of agents by their labels without exploration scale; no two look alike.

    Agents of this package look the same in every figure; others, and variants, get the looks that are left, in the
    order given.

    Examples
    --------
    >>> looks(["dTS"])["dTS"] == looks(["LinTS", "dTS"])["dTS"]
    True
    """
    found = {label: _LOOKS[label] for label in labels if label in _LOOKS}
    for label in labels:  # a variant drawn alone looks like the agent itself
        plain = label.partition(" (")[0]
        if label not in found and plain in _LOOKS and _LOOKS[plain] not in found.values():
            found[label] = _LOOKS[plain]
    taken = set(found.values())
    free = [(colour, style) for style in _STYLES for colour in COLOURS if (colour, style) not in taken]
    others = [label for label in dict.fromkeys(labels) if label not in found]
    return found | {label: free[i % len(free)] for i, label in enumerate(others)}


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], size: float = 9.0) -> None:
    """Write names beside the right ends of curves, as near to them as possible without overlap.

    Parameters
    ----------
    axes : axes whose limits and figure size are final.
    ends : height in data units, text and colour of each curve's end.
    size : font size, in points.
    """
    if not ends:
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    points = axes.get_position().height * figure.get_size_inches()[1] * 72
    gap = 1.3 * size / points
    to_fraction = axes.transData - axes.transAxes  # to fractions of the axes' height, whatever its scale
    right = axes.get_xlim()[1]
    ordered = sorted((float(to_fraction.transform((right, y))[1]), text, colour) for y, text, colour in ends)
    steps = gap * np.arange(len(ordered))
    places = isotonic_regression(np.array([y for y, _, _ in ordered]) - steps).x + steps
    for place, (_, text, colour) in zip(places, ordered, strict=True):
        axes.annotate(
            plain(text),
            (1.0, float(place)),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            fontsize=size,
            va="center",
        )


def _looks(comparison: Comparison) -> list[tuple[str, str]]:
    """Colour and line style of every agent; an exploration scale changes only the style."""
    bases = comparison.base_labels
    known = looks(bases)
    found: list[tuple[str, str]] = []
    for i, base in enumerate(bases):
        colour, style = known[base]
        if base in bases[:i]:
            taken = {*found, *known.values()}
            style = next((s for s in _STYLES if (colour, s) not in taken), _STYLES[bases[:i].count(base) % 4])
        found.append((colour, style))
    return found
