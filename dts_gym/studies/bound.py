"""Bound: the Bayes regret of dTS beside its upper bounds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from dts_gym.harness.conduct import Conduct
from dts_gym.harness.figures import label_ends, looks
from dts_gym.studies.cells import Cell, Reading
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy, run_cells
from dts_gym.studies.study import Ask, Findings, Profile, Study, Verdict, judge
from dts_gym.theory import bayes_regret_bound, lints_bound
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array
from dts_gym.utils.tables import csv_text, mean_interval, plus_minus, standard_error

_AGENTS = ("dTS", "MarginalLinTS", "Random")
_DIM = 5
_ACTIONS, _DEPTHS = (10, 100, 1000), (2, 5, 10, 40)


class Bounds(NamedTuple):
    """Bounds in a cell: for dTS, for dTS with only the active columns, for independent actions."""

    dense: float
    sparse: float
    independent: float


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    quick = profile == "quick"
    sizes = [("actions", K, 2) for K in (_ACTIONS[:2] if quick else _ACTIONS)]
    sizes += [("depth", 100, L) for L in ((2, 10) if quick else _DEPTHS)]
    rounds = 200 if quick else 5000
    return tuple(
        Cell(
            name=f"{varied}-{K if varied == 'actions' else L}",
            env_id="DiffusionBandit-v0",
            agents=_AGENTS,
            env_settings={
                "num_actions": K,
                "dim": _DIM,
                "depth": L,
                "horizon": rounds,
                "weight_norm": 1.0,
                "feature_law": "sphere",
            },
            seeds=3 if quick else 20,
            num_rounds=rounds,
            redraw_prior=True,
            panel="K (L=2)" if varied == "actions" else "L (K=100)",
            x=float(K if varied == "actions" else L),
        )
        for varied, K, L in sizes
    )


def bounds_of(cell: Cell) -> Bounds:
    """The bounds in a cell's setting: unit noise of the rewards and of every level."""
    K, L = int(cell.env_settings["num_actions"]), int(cell.env_settings["depth"])
    asked = cell.num_rounds, K, _DIM, [1.0] * (L + 1)
    active = [max(1, _DIM >> (ell - 1)) for ell in range(1, L + 1)]  # columns of the drawn chain
    return Bounds(bayes_regret_bound(*asked), bayes_regret_bound(*asked, active=active), lints_bound(*asked))


@dataclass(frozen=True)
class BoundStudy(Study):
    """Runs cells as a comparison does, and draws the bounds beside the regret."""

    cells: CellStudy

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        return {cell.name: asdict(cell) for cell in self.cells.chosen_cells(ask)}

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        outcome = run_cells(self.cells, ask, conduct)
        rows = [["cell", "regret of dTS", "of MarginalLinTS", "of Random", "bound", "sparse", "independent actions"]]
        lines: list[list[Any]] = []
        verdicts: list[Verdict] = []
        for cell, comparison in zip(outcome.cells, outcome.comparisons, strict=True):
            regret = {agent: comparison.final_regret(agent) for agent in _AGENTS}
            bounds = bounds_of(cell)
            shown = [plus_minus(float(r.mean()), float(standard_error(r))) for r in regret.values()]
            rows.append([cell.name, *shown, *(f"{bound:.4g}" for bound in bounds)])
            for agent, found in regret.items():
                lines.append([cell.name, cell.x, agent, found.mean(), float(standard_error(found)), *bounds])
            verdicts += _verdicts(f"{cell.panel}, {cell.x:g}", regret, bounds)
        header = ["cell", "x", "agent", "regret", "standard_error", *Bounds._fields]
        notes = "Bounds: first term, delta = 1/n; its second term has a constant that is not specified."
        return Findings(
            rows,
            notes,
            csv_text(header, lines),
            tuple(verdicts),
            lambda path: _draw(outcome.cells, lines, path),
            outcome.states,
        )


def _verdicts(where: str, regret: Mapping[str, Array], bounds: Bounds) -> list[Verdict]:
    return [
        judge(
            "The Bayes regret of dTS is below its bound.",
            where,
            "sparse bound less regret of dTS",
            mean_interval(bounds.sparse - regret["dTS"]),
        ),
        judge(
            "Beyond the deck: the bound says something, it is below the regret of playing at random.",
            where,
            "regret of Random less sparse bound",
            mean_interval(regret["Random"] - bounds.sparse),
            "the bound is 5 to 15 times the regret at L=2, and its terms of the latents, under the root, double with "
            "every level of unit noise",
        ),
        judge(
            "Sharing lowers regret, as the bound of dTS is below that of independent actions.",
            where,
            "regret of MarginalLinTS less dTS's",
            mean_interval(regret["MarginalLinTS"] - regret["dTS"]),
        ),
    ]


def _draw(cells: tuple[Cell, ...], lines: list[list[Any]], path: str | os.PathLike[str]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(cell.panel for cell in cells))
    figure = Figure(figsize=(6.4 * len(panels), 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    known = looks(_AGENTS)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        names = [cell.name for cell in cells if cell.panel == panel]
        own = [line for line in lines if line[0] in names]
        axes.set_xscale("log")
        axes.set_yscale("log")
        ends = []
        for agent, (colour, style) in known.items():
            x, y, error = np.array([[line[1], line[3], line[4]] for line in own if line[2] == agent]).T
            axes.plot(x, y, style, color=colour, marker="o", markersize=3)
            axes.fill_between(x, y - error, y + error, color=colour, alpha=0.15, linewidth=0)
            ends.append((float(y[-1]), agent, colour))
        for place, (name, style) in enumerate((("bound", "-"), ("bound, sparse", "--"), ("bound, independent", ":"))):
            x, y = np.array([[line[1], line[5 + place]] for line in own if line[2] == "dTS"]).T
            axes.plot(x, y, style, color="0.5", linewidth=1.2)
            ends.append((float(y[-1]), name, "0.4"))
        axes.set_xlabel(panel)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        label_ends(axes, ends, 8.0)
    figure.supylabel("Bayes regret (mean of runs, ± standard error)")
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


_CLAIM = CLAIMS["bound"]
STUDY = BoundStudy(
    id="bound",
    claim=_CLAIM,
    description=(
        "Linear chains drawn for each run, weights scaled to spectral norm 1, unit covariances, contexts uniform on "
        "the unit sphere, noise 1, d=5, 5000 rounds, exploration 1. The bound of the paper's Theorem 4.1 with delta = "
        "1/n, with all columns and (Proposition 4.2) with the active ones alone; and that of independent actions."
    ),
    cells=CellStudy("bound", _CLAIM, "", Reading("dTS"), _cells),
)
