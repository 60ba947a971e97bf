"""What an experiment is made of, and how it is run: cells, each a comparison in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from dts_gym.comparing import compare
from dts_gym.experiment import Comparison
from dts_gym.pool import Backend

Profile = Literal["quick", "paper"]


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


@dataclass(frozen=True)
class Study:
    """An experiment: its claim, its cells, the agent that the claim is about.

    Parameters
    ----------
    id : its name.
    claim : as the deck makes it.
    description : what is run, with what the deck leaves open.
    reference : label of the agent that the others are held against.
    cells : the cells of a profile, given the data set that was named, or None.
    x_label : of the figure's curves, where cells have an ``x``.
    takes_data : whether a data set can be named.
    """

    id: str
    claim: str
    description: str
    reference: str
    cells: Callable[[Profile, str | None], tuple[Cell, ...]]
    x_label: str = ""
    takes_data: bool = False


@dataclass(frozen=True)
class Outcome:
    """An experiment that was run: its cells' comparisons, in order."""

    study: Study
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...]


def run_study(
    study: Study,
    profile: Profile = "quick",
    *,
    data: str | None = None,
    out: Path | None = None,
    resume: bool = False,
    backend: Backend = "processes",
    num_workers: int | None = 1,
    ray_address: str | None = None,
    only: str = "",
    progress: bool = False,
) -> Outcome:
    """Run an experiment's cells, or those that ``out`` does not hold yet.

    Parameters
    ----------
    profile : "quick", small, for a look and for tests; or "paper", the setting that is reported.
    data : a data set, of an experiment that takes one; None: the environment's default.
    out : a folder, a sub-folder a cell; None keeps nothing.
    resume, backend, num_workers, ray_address, progress : as `dts_gym.compare` takes them.
    only : cells whose names hold this text.

    Raises
    ------
    ValueError
        If there is no such profile, data are named for an experiment that takes none, or no cell is left.
    """
    if profile not in get_args(Profile):
        raise ValueError(f"profile must be one of {get_args(Profile)}, got {profile!r}")
    if data is not None and not study.takes_data:
        raise ValueError(f"data must be left out of {study.id}, which has no data set, got {data!r}")
    every = study.cells(profile, data)
    cells = tuple(cell for cell in every if only in cell.name)
    if not cells:
        raise ValueError(f"only must be part of the name of a cell, {[cell.name for cell in every]}, got {only!r}")
    found = []
    for cell in cells:
        folder = None if out is None else out / cell.name
        found.append(
            compare(
                cell.env_id,
                cell.agents,
                seeds=cell.seeds,
                num_rounds=cell.num_rounds,
                env_settings=cell.env_settings,
                out=folder,
                resume=resume and folder is not None and folder.exists(),
                tune=bool(cell.grid),
                grid=cell.grid or (1.0,),
                tuning_seeds=cell.tuning_seeds,
                tuning_settings=cell.tuning_settings,
                backend=backend,
                num_workers=num_workers,
                ray_address=ray_address,
                redraw_prior=cell.redraw_prior,
                progress=progress,
            )
        )
    return Outcome(study, cells, tuple(found))
