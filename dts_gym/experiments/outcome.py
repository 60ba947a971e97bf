"""What an experiment found: a table with paired differences, a verdict a cell, a CSV, a figure."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from dts_gym.archives import write_atomically
from dts_gym.experiment import Comparison
from dts_gym.experiments.study import Outcome
from dts_gym.figures import COLOURS
from dts_gym.report import Style, layout, plus_minus, standard_error
from dts_gym.tuning import base_label, default_exploration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEVEL = 0.95  # of the confidence intervals
Scale = Literal["at 1", "tuned"]


class Line(NamedTuple):
    """One agent in one cell, at exploration 1 or tuned.

    Attributes
    ----------
    regret, standard_error : final, mean over seeds.
    less : regret less the reference's at the same kind of scale, mean of the paired differences.
    low, high : 95 % confidence interval of ``less`` (Student's t); NaN for the reference itself, or one seed.
    """

    cell: str
    panel: str
    x: float | None
    agent: str
    scale: Scale
    exploration: float | None
    regret: float
    standard_error: float
    less: float
    low: float
    high: float
    seeds: int


def lines_of(outcome: Outcome) -> list[Line]:
    """Every agent of every cell, at 1 and, where the cell was tuned, at its best scale; the reference comes first."""
    found: list[Line] = []
    for cell, comparison in zip(outcome.cells, outcome.comparisons, strict=True):
        kinds: tuple[Scale, ...] = ("at 1", "tuned") if cell.grid else ("at 1",)
        for kind in kinds:
            chosen = _labels(comparison, kind)
            first = next(base for base in chosen if _same(base, outcome.study.reference))
            reference = comparison.final_regret(chosen[first])
            for base in sorted(chosen, key=lambda name: name != first):
                regret = comparison.final_regret(chosen[base])
                spec = next(s for s in comparison.experiment.agents if s.label == chosen[base])
                low, mean, high = paired_interval(regret - reference)
                if base == first:
                    low = high = math.nan
                scale = spec.settings.get("exploration", default_exploration(spec.id))
                found.append(
                    Line(cell.name, cell.panel, cell.x, base, kind, None if scale is None else float(scale),
                         float(regret.mean()), float(standard_error(regret)), mean, low, high, len(regret))
                )  # fmt: skip
    return found


def paired_interval(differences: np.ndarray, level: float = _LEVEL) -> tuple[float, float, float]:
    """Mean of paired differences (n,) between the ends of its confidence interval; NaN ends for a single one.

    Examples
    --------
    >>> [round(end, 3) for end in paired_interval(np.array([1.0, 2.0, 3.0]))]
    [-0.484, 2.0, 4.484]
    """
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return math.nan, mean, math.nan
    half = float(stdtrit(n - 1, 0.5 + level / 2) * differences.std(ddof=1) / math.sqrt(n))
    return mean - half, mean, mean + half


def _labels(comparison: Comparison, kind: Scale) -> dict[str, str]:
    """Agent without its exploration -> label of its runs at 1, or at its best; an agent best at 1 has one run."""
    found: dict[str, str] = {}
    for spec in comparison.experiment.agents:
        base = base_label(spec)
        if base not in found or kind == "tuned":  # a tuned agent stands behind its own
            found[base] = spec.label
    return found


def _same(base: str, reference: str) -> bool:
    """Whether a label is the reference's, its storage settings apart."""
    return base == reference or base == f"{reference} (pool kept)"


def verdicts(lines: Sequence[Line]) -> list[tuple[str, Scale, str]]:
    """For every cell and kind of scale: whether the reference is first, tied or behind.

    "first": every other agent has more regret, its interval above 0. "behind NAMES": the intervals of these are below
    0. Else "tied for first with NAMES": those whose interval holds 0. Each interval by itself: with five agents a
    reference that is first is called behind by chance in up to one of eight.
    """
    found = []
    for cell, kind in dict.fromkeys((line.cell, line.scale) for line in lines):
        own = [line for line in lines if (line.cell, line.scale) == (cell, kind)][1:]
        ahead = [line.agent for line in own if line.high < 0]
        tied = [line.agent for line in own if not (line.high < 0 or line.low > 0)]
        text = f"behind {', '.join(ahead)}" if ahead else f"tied for first with {', '.join(tied)}" if tied else "first"
        found.append((cell, kind, text))
    return found


def outcome_table(outcome: Outcome, style: Style = "text") -> str:
    """A row an agent and cell: regret at 1 and tuned, each with what it has more than the reference (95 % interval)."""
    lines = lines_of(outcome)
    at = {(line.cell, line.agent, line.scale): line for line in lines}
    header = ("cell", "agent", "at 1", "more than reference", "tuned", "scale", "more than reference")
    rows = []
    for cell, agent in dict.fromkeys((line.cell, line.agent) for line in lines):
        row = [cell, agent]
        for kind in ("at 1", "tuned"):
            line = at.get((cell, agent, kind))
            if line is None:
                row += ["", "", ""] if kind == "tuned" else ["", ""]
                continue
            row.append(plus_minus(line.regret, line.standard_error))
            if kind == "tuned":
                row.append("" if line.exploration is None else f"{line.exploration:g}")
            row.append("" if math.isnan(line.low) else f"{line.less:.1f} ({line.low:.1f}, {line.high:.1f})")
        rows.append(row)
    text = layout([header, *rows], style)
    study = outcome.study
    text += f"\nReference: {study.reference}. Claim: {study.claim}\n"
    for cell, kind, verdict in verdicts(lines):
        text += f"{cell}, {kind}: {study.reference} {verdict}\n"
    return text


def outcome_csv(outcome: Outcome) -> str:
    """`Line`s, all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Line._fields)
    writer.writerows(lines_of(outcome))
    return text.getvalue()


def outcome_figure(outcome: Outcome, path: str | os.PathLike[str]) -> None:
    """Draw curves over ``x`` where cells have one, else paired differences, a panel a cell.

    Parameters
    ----------
    path : of the PNG; its folder must exist.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = lines_of(outcome)
    panels = list(dict.fromkeys(line.panel for line in lines))
    agents = list(dict.fromkeys(line.agent for line in lines))
    colours = {agent: COLOURS[i % len(COLOURS)] for i, agent in enumerate(agents)}
    columns = min(2, len(panels))
    height = 3.2 if lines[0].x is not None else 0.9 + 0.3 * len(agents)
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(5.2 * columns + 0.6, height * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, axes in enumerate(grid.flat):
        if place >= len(panels):
            axes.set_axis_off()
            continue
        own = [line for line in lines if line.panel == panels[place]]
        (_curves if own[0].x is not None else _differences)(axes, own, colours)
        axes.set_title(panels[place], fontsize="medium")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    if lines[0].x is not None:
        figure.supxlabel(outcome.study.x_label)
        figure.supylabel("Final regret (± standard error)")
        handles, names = grid.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, loc="outside lower center", ncols=4, fontsize="small")
    else:
        figure.supxlabel(f"Final regret more than {outcome.study.reference}'s (hollow: both at 1; full: both tuned)")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def _curves(axes: Axes, lines: Sequence[Line], colours: dict[str, str]) -> None:
    for agent in colours:
        for kind, style in (("at 1", "--"), ("tuned", "-")):
            own = sorted((li for li in lines if (li.agent, li.scale) == (agent, kind)), key=lambda li: li.x or 0.0)
            if not own:
                continue
            x, mean, error = (np.array([getattr(li, name) for li in own]) for name in ("x", "regret", "standard_error"))
            axes.plot(x, mean, style, color=colours[agent], marker="o", markersize=3, label=f"{agent}, {kind}")
            axes.fill_between(x, mean - error, mean + error, color=colours[agent], alpha=0.15, linewidth=0)
    axes.set_xscale("log")


def _differences(axes: Axes, lines: Sequence[Line], colours: dict[str, str]) -> None:
    names = list(dict.fromkeys(line.agent for line in lines if not math.isnan(line.low)))
    for line in lines:
        if line.agent not in names:
            continue
        y = names.index(line.agent) + (0.15 if line.scale == "at 1" else -0.15)
        axes.plot([line.low, line.high], [y, y], color=colours[line.agent], linewidth=1.6)
        face = "white" if line.scale == "at 1" else colours[line.agent]
        axes.plot(line.less, y, "o", color=colours[line.agent], markerfacecolor=face, markersize=5)
    axes.axvline(0.0, color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
