"""Experiments that compare agents: cells, each a comparison in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from dts_gym.experiments.study import Ask, Conduct, Findings, Profile, Study, Verdict, chosen
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import Comparison

Picture = Literal["rounds", "x", "differences"]
Scale = Literal["at 1", "tuned"]


@dataclass(frozen=True)
class Cell:
    """One comparison of an experiment.

    Parameters
    ----------
    name : of its folder.
    env_id, env_settings, agents, seeds, num_rounds, redraw_prior : as `dts_gym.compare` takes them.
    grid : exploration scales to tune over; none: the agents are reported as they are.
    tuning_seeds : runs an agent and value of the grid.
    tuning_settings : what of ``env_settings`` is different while tuning, for one the movies that are played.
    panel : of the figure, by its title; cells of one panel are one curve an agent over ``x``.
    x : where the cell stands in its panel; None: the panel is this cell's alone.
    """

    name: str
    env_id: str
    agents: tuple[str, ...]
    env_settings: Mapping[str, Any]
    seeds: int
    num_rounds: int
    redraw_prior: bool = False
    grid: tuple[float, ...] = ()
    tuning_seeds: int = 5
    tuning_settings: Mapping[str, Any] = field(default_factory=dict)
    panel: str = ""
    x: float | None = None


class Cause(NamedTuple):
    """Why a claim fails, where that was found.

    Attributes
    ----------
    text : the cause.
    kind : the scale at which it was found.
    worse : the agents that turned out better than claimed; none: all of the claim's.
    cells : names of the cells; none: all.
    """

    text: str
    kind: Scale
    worse: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """An agent has less regret than others: what the deck says, or what is looked at beside.

    Parameters
    ----------
    text : as the deck states it.
    better : label of the agent that has less.
    worse : labels of those that have more; in a cell that lacks one it is left out.
    cells : names of those that it is about; none: all.
    causes : why it fails, where it does and that was found; the first that fits is told.
    """

    text: str
    better: str
    worse: tuple[str, ...]
    cells: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()

    def cause(self, cell: str, kind: Scale, worse: str) -> str:
        """Why it fails against one agent in one cell; empty where that was not found."""
        fits = (
            cause.text
            for cause in self.causes
            if cause.kind == kind and worse in (cause.worse or (worse,)) and cell in (cause.cells or (cell,))
        )
        return next(fits, "")


@dataclass(frozen=True)
class CellStudy(Study):
    """An experiment that compares agents.

    Parameters
    ----------
    id, claim, description : as `Study`.
    reference : label of the agent that the others are held against.
    cells : the cells of a profile, given the data set that was named, or None.
    claims : of the deck.
    picture : curves over "rounds", over the cells' "x", or paired "differences", a panel a cell.
    x_label : of the figure's curves over ``x``.
    data : whether a data set can be named.
    further : verdicts that take more than two agents in one cell.
    """

    reference: str
    cells: Callable[[Profile, str | None], tuple[Cell, ...]]
    claims: tuple[Claim, ...] = ()
    picture: Picture = "differences"
    x_label: str = ""
    data: bool = False
    further: Callable[[Outcome], list[Verdict]] | None = None

    @property
    def takes_data(self) -> bool:
        return self.data

    def chosen_cells(self, ask: Ask) -> tuple[Cell, ...]:
        """The cells that are asked for."""
        every = self.cells(ask.profile, ask.data)
        cells = (every[place] for place in chosen([cell.name for cell in every], ask.only))
        return tuple(cell if ask.seeds is None else replace(cell, seeds=ask.seeds) for cell in cells)

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        return {cell.name: asdict(cell) for cell in self.chosen_cells(ask)}

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        from dts_gym.experiments.outcome import findings_of  # which reads what this module defines

        return findings_of(run_cells(self, ask, conduct))


@dataclass(frozen=True)
class Outcome:
    """An experiment that was run: its cells' comparisons, in order."""

    study: CellStudy
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]

    def of(self, name: str) -> Comparison | None:
        """The comparison of the cell of that name, None where it was not run."""
        found = (one for cell, one in zip(self.cells, self.comparisons, strict=True) if cell.name == name)
        return next(found, None)


def run_cells(study: CellStudy, ask: Ask, conduct: Conduct) -> Outcome:
    """Run an experiment's cells, or those that ``conduct.out`` does not hold yet."""
    cells = study.chosen_cells(ask)
    found = []
    for cell in cells:
        folder = None if conduct.out is None else conduct.out / cell.name
        found.append(
            compare(
                cell.env_id,
                cell.agents,
                seeds=cell.seeds,
                num_rounds=cell.num_rounds,
                env_settings=cell.env_settings,
                out=folder,
                resume=conduct.resume and folder is not None and folder.exists(),
                tune=bool(cell.grid),
                grid=cell.grid or (1.0,),
                tuning_seeds=cell.tuning_seeds,
                tuning_settings=cell.tuning_settings,
                backend=conduct.backend,
                num_workers=conduct.num_workers,
                ray_address=conduct.ray_address,
                redraw_prior=cell.redraw_prior,
                progress=conduct.progress,
            )
        )
    return Outcome(study, cells, tuple(found))
