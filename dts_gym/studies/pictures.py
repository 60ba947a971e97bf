"""Figures of comparisons: regret over rounds, final regret over a setting, paired differences."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dts_gym.harness.experiment import Comparison
from dts_gym.harness.figures import END_NOTE, label_ends, looks, regret_curve
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.tables import marked

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dts_gym.studies.cells import Line


def draw_over_rounds(
    panels: Sequence[tuple[str, Comparison, dict[str, str], Collection[str]]], path: str | os.PathLike[str]
) -> None:
    """Draw mean cumulative regret in bands of one standard error, labelled at their ends.

    Parameters
    ----------
    panels : for each panel its title, a comparison, the agents drawn with the labels of their runs, and the agents
        whose tuned scale is the best at an end of those tried, which are marked.
    path : file of the PNG; its folder must exist.
    """

    def panel(axes: Axes, place: int) -> None:
        title, comparison, labels, beyond = panels[place]
        known = looks(list(labels))
        ends = [
            regret_curve(axes, comparison, label, *known[base], marked(base, base in beyond))
            for base, label in labels.items()
        ]
        axes.set_title(title, fontsize="medium")
        axes.set_xlim(0, comparison.experiment.num_rounds)
        axes.set_ylim(bottom=0)
        label_ends(axes, ends, 8.0)

    def named(figure: Figure) -> None:
        figure.supxlabel(_noted("Round", any(beyond for *_, beyond in panels)))
        figure.supylabel("Cumulative regret (mean of runs, ± standard error)")

    _draw(len(panels), (6.8, 3.5), panel, named, path)


def draw_over_x(lines: Sequence[Line], x_label: str, path: str | os.PathLike[str]) -> None:
    """Draw final regret over ``x`` in bands of one standard error: dashed at 1, full where tuned.

    Parameters
    ----------
    lines : the lines to draw, which have an ``x``.
    x_label : label below the figure.
    path : file of the PNG; its folder must exist.
    """
    panels = list(dict.fromkeys(line.panel for line in lines))
    known = looks(list(dict.fromkeys(line.agent for line in lines)))
    tuned = any(line.scale == "tuned" for line in lines)

    def panel(axes: Axes, place: int) -> None:
        own = [line for line in lines if line.panel == panels[place]]
        ends = []
        for agent, (colour, _) in known.items():
            for kind in ("at 1", "tuned"):
                part = sorted((li for li in own if (li.agent, li.scale) == (agent, kind)), key=lambda li: li.x or 0.0)
                if not part:
                    continue
                x, mean, error = (np.array([getattr(li, n) for li in part]) for n in ("x", "regret", "standard_error"))
                style = "--" if tuned and kind == "at 1" else "-"
                axes.plot(x, mean, style, color=colour, marker="o", markersize=3)
                axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
                name = f"{agent}, {kind}" if tuned else agent
                ends.append((float(mean[-1]), marked(name, any(li.scale_end for li in part)), colour))
        axes.set_title(panels[place], fontsize="medium")
        values = sorted({line.x or 0.0 for line in own})
        if values[0] > 0 and values[-1] > 10 * values[0]:
            axes.set_xscale("log")
        label_ends(axes, ends, 8.0)

    def named(figure: Figure) -> None:
        figure.supxlabel(_noted(x_label, any(line.scale_end for line in lines)))
        figure.supylabel("Final regret (mean of runs, ± standard error)")

    _draw(len(panels), (6.2, 3.4), panel, named, path)


def draw_differences(lines: Sequence[Line], reference: str, path: str | os.PathLike[str]) -> None:
    """Draw agents' excess regret over the reference, with 95 % intervals, a panel for each cell.

    Parameters
    ----------
    lines : the lines of the agents and of the reference.
    reference : name of the reference.
    path : file of the PNG; its folder must exist.
    """
    panels = list(dict.fromkeys(line.panel for line in lines))
    agents = list(dict.fromkeys(line.agent for line in lines))
    known = looks(agents)

    def panel(axes: Axes, place: int) -> None:
        own = [line for line in lines if line.panel == panels[place]]
        names = list(dict.fromkeys(line.agent for line in own if not math.isnan(line.low)))
        for line in own:
            if line.agent not in names:
                continue
            y = names.index(line.agent) + (0.15 if line.scale == "at 1" else -0.15)
            colour = known[line.agent][0]
            axes.plot([line.low, line.high], [y, y], color=colour, linewidth=1.6)
            face = "white" if line.scale == "at 1" else colour
            axes.plot(line.less, y, "o", color=colour, markerfacecolor=face, markersize=5)
        axes.axvline(0.0, color="0.4", linewidth=0.8)
        beyond = {line.agent for line in own if line.scale_end}
        axes.set_yticks(range(len(names)), [marked(name, name in beyond) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        first = any(line.scale_end for line in own if line.agent not in names)
        axes.set_title(panels[place] + (f" ({marked(reference, True)})" if first else ""), fontsize="medium")

    def named(figure: Figure) -> None:
        text = f"Final regret more than {reference}'s (hollow: both at 1; full: both tuned)"
        figure.supxlabel(_noted(text, any(line.scale_end for line in lines)))

    _draw(len(panels), (5.4, 0.9 + 0.3 * len(agents)), panel, named, path)


def _noted(text: str, beyond: bool) -> str:
    """A figure's text, with the meaning of the mark below it where there is a mark."""
    return f"{text}\n{END_NOTE}" if beyond else text


def _draw(
    count: int,
    size: tuple[float, float],
    panel: Callable[[Axes, int], None],
    named: Callable[[Figure], None],
    path: str | os.PathLike[str],
) -> None:
    """Draw ``count`` panels of one size, two in a row, and write the PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns + 0.4, size[1] * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if place >= count:
            axes.set_axis_off()
            continue
        panel(axes, place)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    named(figure)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))
