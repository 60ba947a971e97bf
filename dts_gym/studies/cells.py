"""Cells: the comparisons of which an experiment consists, what the deck claims of them, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dts_gym.harness.experiment import Comparison
from dts_gym.studies.study import Verdict

Picture = Literal["rounds", "x", "differences"]
Scale = Literal["at 1", "tuned"]


@dataclass(frozen=True)
class Cell:
    """One comparison of an experiment.

    Parameters
    ----------
    name : of its folder.
    env_id, env_settings, agents, seeds, num_rounds, redraw_prior : as `dts_gym.compare` takes them.
    grid : exploration scales that tuning tries first; none: the agents are reported as they are.
    tuning_seeds : runs an agent and value of the grid.
    tuning_settings : what of ``env_settings`` is different while tuning, for one the movies that are played.
    panel : of the figure, by its title; cells of one panel are one curve an agent over ``x``.
    x : where the cell stands in its panel; None: the panel is this cell's alone.
    bracket : whether the grid grows, for each agent by itself, until the agent's best scale lies inside.
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
    bracket: bool = True


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
class Reading:
    """How the comparisons of cells are read.

    Parameters
    ----------
    reference : label of the agent that the others are held against.
    claims : of the deck.
    picture : curves over "rounds", over the cells' "x", or paired "differences", a panel a cell.
    x_label : of the figure's curves over ``x``.
    further : verdicts that take more than two agents in one cell.
    """

    reference: str
    claims: tuple[Claim, ...] = ()
    picture: Picture = "differences"
    x_label: str = ""
    further: Callable[[Outcome], list[Verdict]] | None = None


@dataclass(frozen=True)
class Outcome:
    """An experiment that was run: its cells' comparisons, in order, and how they are read."""

    reading: Reading
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]

    def of(self, name: str) -> Comparison | None:
        """The comparison of the cell of that name, None where it was not run."""
        found = (one for cell, one in zip(self.cells, self.comparisons, strict=True) if cell.name == name)
        return next(found, None)


class Line(NamedTuple):
    """One agent in one cell, at exploration 1 or tuned.

    Attributes
    ----------
    regret, standard_error : final, mean over seeds.
    less : regret less the reference's at the same kind of scale, mean of the paired differences.
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
    """At which scales a cell's agents are reported."""
    return ("at 1", "tuned") if cell.grid else ("at 1",)
