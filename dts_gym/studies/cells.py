"""Cells: the comparisons that an experiment consists of, the paper's claims about them, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dts_gym.harness.code_state import distinct
from dts_gym.harness.experiment import Comparison
from dts_gym.studies.study import Verdict

Picture = Literal["rounds", "x", "differences"]
Scale = Literal["at 1", "tuned"]


@dataclass(frozen=True)
class Cell:
    """One comparison of an experiment.

    Parameters
    ----------
    name : name of the cell's folder.
    env_id, env_settings, agents, seeds, num_rounds, redraw_prior, auto_once : as in `dts_gym.compare`.
    grid : exploration scales that tuning tries first; an empty grid reports the agents untuned.
    tuning_seeds : number of runs of each agent at each value of the grid.
    tuning_settings : the ``env_settings`` that differ while tuning, for example which movies are played.
    panel : title of the cell's panel in the figure; cells of one panel are one curve for each agent over ``x``.
    x : position of the cell in its panel; None: the panel shows only this cell.
    bracket : whether the grid grows, for each agent by itself, until the agent's best scale lies inside.
    """

    name: str
    env_id: str
    agents: tuple[str, ...]
    env_settings: Mapping[str, Any]
    seeds: int
    num_rounds: int
    redraw_prior: bool = False
    auto_once: bool = False
    grid: tuple[float, ...] = ()
    tuning_seeds: int = 5
    tuning_settings: Mapping[str, Any] = field(default_factory=dict)
    panel: str = ""
    x: float | None = None
    bracket: bool = True


class Cause(NamedTuple):
    """The cause of a failed claim, where it was measured.

    Attributes
    ----------
    text : the cause.
    kind : the scale at which it was measured.
    worse : the agents that were better than claimed; empty: all agents of the claim.
    cells : names of the cells; empty: all.
    """

    text: str
    kind: Scale
    worse: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A claim that an agent has less regret than others, by the paper's slides (the "deck") or beyond them.

    Parameters
    ----------
    text : the claim as the slides state it.
    better : label of the agent with less regret.
    worse : labels of the agents with more regret; one that a cell lacks is left out there.
    cells : names of the cells that the claim is about; empty: all.
    causes : causes of failure, where they were measured; the first that fits is reported.
    """

    text: str
    better: str
    worse: tuple[str, ...]
    cells: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()

    def cause(self, cell: str, kind: Scale, worse: str) -> str:
        """The cause of its failure against one agent in one cell; empty where it is unknown."""
        fits = (
            cause.text
            for cause in self.causes
            if cause.kind == kind and worse in (cause.worse or (worse,)) and cell in (cause.cells or (cell,))
        )
        return next(fits, "")


@dataclass(frozen=True)
class Reading:
    """How the comparisons of cells are read.

    Parameters
    ----------
    reference : label of the agent that the others are compared with.
    claims : claims about the agents.
    picture : kind of the figure: curves over "rounds", over the cells' "x", or paired "differences", a panel for each
        cell.
    x_label : label of the axis ``x``.
    further : function for verdicts that need more than two agents in one cell.
    """

    reference: str
    claims: tuple[Claim, ...] = ()
    picture: Picture = "differences"
    x_label: str = ""
    further: Callable[[Outcome], list[Verdict]] | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished experiment: its cells' comparisons, in order, and how they are read."""

    reading: Reading
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def states(self) -> list[dict[str, Any]]:
        """The different states of the code that made the runs."""
        return distinct(state for comparison in self.comparisons for state in comparison.states)

    def of(self, name: str) -> Comparison | None:
        """The comparison of the cell of that name, None where it was not run."""
        found = (one for cell, one in zip(self.cells, self.comparisons, strict=True) if cell.name == name)
        return next(found, None)


class Line(NamedTuple):
    """One agent in one cell, at exploration 1 or tuned.

    Attributes
    ----------
    regret, standard_error : final regret, mean over seeds.
    less : regret minus the reference's at the same kind of scale, mean of the paired differences.
    low, high : 95 % confidence interval of ``less`` (Student's t); NaN for the reference itself, or one seed.
    scale_end : at which end of the scales tried a tuned exploration lies; empty where that lies inside.
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
    scale_end: str = ""


def scales(cell: Cell) -> tuple[Scale, ...]:
    """The kinds of scales at which a cell's agents are reported."""
    return ("at 1", "tuned") if cell.grid else ("at 1",)
