"""Experiments on logs: numbers measured for each setting and seed, their means, and verdicts on differences."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dts_gym.harness.conduct import Conduct
from dts_gym.studies.study import Ask, Findings, Study, Verdict, chosen, judge
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.tables import csv_text, mean_interval, plus_minus, standard_error

Measure = Callable[[Mapping[str, Any], int], dict[str, float]]


class LogCell(NamedTuple):
    """One setting: its name, its place on the figure's axis, the function that measures it, its settings, its seeds."""

    name: str
    x: float
    measure: Measure
    settings: Mapping[str, Any]
    seeds: int


class Contrast(NamedTuple):
    """A claim that one number is larger than another: ``more`` less ``less``, the latter 0 where it has no name."""

    claim: str
    more: str
    less: str
    text: str
    cells: tuple[str, ...] = ()  # those that it is about; all if empty


@dataclass(frozen=True)
class LogStudy(Study):
    """Measures every cell for every seed; numbers of one seed are paired.

    Parameters
    ----------
    make_cells : function of the request that returns the cells.
    contrasts : claims on differences of numbers.
    shown : numbers that the figure shows, over the cells' ``x``.
    axes : labels of the figure's axes.
    uses_data : whether a data set can be named.
    """

    make_cells: Callable[[Ask], Sequence[LogCell]]
    contrasts: tuple[Contrast, ...]
    shown: tuple[str, ...]
    axes: tuple[str, str]
    uses_data: bool = False

    @property
    def takes_data(self) -> bool:
        return self.uses_data

    def _cells(self, ask: Ask) -> list[LogCell]:
        cells = list(self.make_cells(ask))
        cells = [cells[i] for i in chosen([cell.name for cell in cells], ask.only)]
        return cells if ask.seeds is None else [cell._replace(seeds=ask.seeds) for cell in cells]

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        cells = self._cells(ask)
        told: dict[str, list[Any]] = {"cells": [cell.name for cell in cells]}
        for cell in cells:
            for name, value in {**cell.settings, "seeds": cell.seeds}.items():
                if value not in told.setdefault(name, []):
                    told[name].append(value)
        return told

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        cells = self._cells(ask)
        found = _measured(cells, conduct)
        rows: list[Sequence[str]] = [("cell", "number", "mean")]
        lines: list[list[Any]] = []
        for cell in cells:
            for name, values in found[cell.name].items():
                rows.append((cell.name, name, plus_minus(float(values.mean()), float(standard_error(values)))))
                lines += [[cell.name, cell.x, name, seed, value] for seed, value in enumerate(values.tolist())]
        verdicts = tuple(
            _verdict(contrast, cell.name, found[cell.name])
            for contrast in self.contrasts
            for cell in cells
            if not contrast.cells or cell.name in contrast.cells
        )
        numbers = csv_text(["cell", "x", "number", "seed", "value"], lines)
        return Findings(rows, "", numbers, verdicts, lambda path: self._draw(cells, found, path))

    def _draw(
        self, cells: Sequence[LogCell], found: Mapping[str, Mapping[str, Array]], path: str | os.PathLike[str]
    ) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        from dts_gym.harness.figures import COLOURS

        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        for place, (told, alike) in enumerate(lines_of(cells).items()):
            for name, colour in zip(self.shown, COLOURS, strict=False):
                known = [(cell.x, found[cell.name][name]) for cell in alike if name in found[cell.name]]
                if known:
                    x = [each[0] for each in known]
                    mean = np.array([each[1].mean() for each in known])
                    error = np.nan_to_num(np.array([float(standard_error(each[1])) for each in known]))
                    look: Any = {"color": colour, "marker": "osD^v"[place % 5], "markersize": 4 if place else 3}
                    label = f"{name} ({told})" if told else name
                    axes.errorbar(x, mean, error, label=label, linestyle="-" if len(x) > 1 else "", **look)
        axes.set(xlabel=self.axes[0], ylabel=self.axes[1])
        axes.grid(alpha=0.25)
        axes.legend(fontsize="small")
        write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def lines_of(cells: Sequence[LogCell]) -> dict[str, list[LogCell]]:
    """The cells that a line joins: those that differ in the axis alone; by what the others have of their own."""
    axis = {name for name in cells[0].settings if all(cell.settings.get(name) == cell.x for cell in cells)}
    lines: dict[tuple[tuple[str, str], ...], list[LogCell]] = {}
    for cell in cells:
        kept = tuple((name, str(value)) for name, value in cell.settings.items() if name not in axis)
        lines.setdefault(kept, []).append(cell)
    ordered = sorted(lines.items(), key=lambda line: -len(line[1]))
    usual = set(ordered[0][0])
    return {", ".join(" ".join(pair) for pair in kept if pair not in usual): line for kept, line in ordered}


def _verdict(contrast: Contrast, where: str, found: Mapping[str, Array]) -> Verdict:
    less = found[contrast.less] if contrast.less else 0.0
    return judge(contrast.claim, where, contrast.text, mean_interval(found[contrast.more] - less))


def _measured(cells: Sequence[LogCell], conduct: Conduct) -> dict[str, dict[str, Array]]:
    """Numbers by cell and name, (seeds,)."""
    jobs = [(i, seed, cell.measure, cell.settings) for i, cell in enumerate(cells) for seed in range(cell.seeds)]
    kept: dict[tuple[int, int], dict[str, float]] = {}
    with conduct.open_pool() as pool:
        for i, seed, numbers in progress_bar(pool(_job, jobs), conduct.progress, len(jobs), "logs"):
            kept[i, seed] = numbers
    return {
        cell.name: {
            name: np.array([kept[i, seed][name] for seed in range(cell.seeds)], dtype=np.float64) for name in kept[i, 0]
        }
        for i, cell in enumerate(cells)
    }


def _job(cell: int, seed: int, measure: Measure, settings: Mapping[str, Any]) -> tuple[int, int, dict[str, float]]:
    return cell, seed, measure(settings, seed)
