"""What the commands of the command line take: fields are options, their texts the help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from dts_gym.diagnostics.error_problems import PROBLEMS
from dts_gym.diagnostics.posterior_error import OBSERVATIONS
from dts_gym.harness.tuning import GRID
from dts_gym.utils.workers import Backend


@dataclass(frozen=True)
class ExperimentCommand:
    """What run and tune have in common."""

    env: str = "DiffusionBandit-v0"
    """Id of the environment; its own options are --env.NAME, and --env.help lists them."""
    agents: tuple[str, ...] = ("dTS", "LinTS", "LinUCB", "HierTS")
    """Ids of agents, with settings as in dTS:exploration=0.3,branch=1."""
    seeds: int = 10
    """Runs an agent; run s is the same instance for every agent."""
    rounds: int | None = None
    """Rounds of a run; all of the environment's horizon unless given."""
    out: Path | None = None
    """New folder for records, table and figure; one under results/ unless given."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the runs in --out; --seeds and --agents may be others than before."""
    backend: Backend = "processes"
    """Where runs are done; the results are the same."""
    workers: int = 1
    """Runs at a time."""
    ray_address: str | None = None
    """Of a running Ray cluster, with --backend ray; Ray is started on this machine unless given."""
    data: str | None = None
    """Where the environment's data set lies; short for --env.data."""
    prior: str | None = None
    """A file that `dts-gym pretrain` or Prior.save wrote; short for --env.prior."""
    redraw_prior: tyro.conf.FlagCreatePairsOff[bool] = False
    """Draw a prior for each seed, not one for all."""
    grid: tuple[float, ...] = GRID
    """Exploration scales that tuning tries."""
    progress: bool = True
    """Show a bar on stderr."""


@dataclass(frozen=True)
class Run(ExperimentCommand):
    """Compare agents on the same instances: a table, a figure, records."""

    tune: tyro.conf.FlagCreatePairsOff[bool] = False
    """Report every agent also at its best exploration scale, found on other seeds."""
    tuning_seeds: int = 5
    """Runs an agent and value of the grid, with --tune."""


@dataclass(frozen=True)
class Tune(ExperimentCommand):
    """Find every agent's best exploration scale."""


@dataclass(frozen=True)
class Sweep:
    """Run a file of experiments: environments x agents x seeds x settings."""


@dataclass(frozen=True)
class Plot:
    """Draw the table and the figure of a folder of records again."""

    folder: tyro.conf.Positional[Path]
    """The --out of run or tune."""
    figure: Path | None = None
    """The PNG to write; regret.png in the folder unless given."""


@dataclass(frozen=True)
class PosteriorError:
    """Hold posterior draws against the truth: a table, a verdict, a figure, records."""

    problems: tuple[str, ...] = tuple(PROBLEMS)
    """Laws of histories: linear, mlp, bernoulli, poisson, mlp-bernoulli; with torch also cross, rays, triangles, swirl,
    H, corners (or planar, all six) and swiss-roll, to which a prior is fitted first."""
    observations: tuple[int, ...] = OBSERVATIONS
    """Numbers of observations at which draws are looked at."""
    seeds: int = 5
    """Histories a problem."""
    draws: int = 500
    """Draws of a method's posterior; the truth has twice as many."""
    out: Path | None = None
    """New folder for records, table and figure; one under results/ unless given."""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with the histories in --out; there may be more --seeds than before."""
    workers: int = 1
    """Processes."""
    progress: bool = True
    """Show a bar on stderr."""


@dataclass(frozen=True)
class List:
    """Show the environments with their options, the agents, the experiments; or one of them, with all that it takes."""

    what: tyro.conf.Positional[str] = "everything"
    """Everything, environments, agents or experiments; or the id of one."""


@dataclass(frozen=True)
class Pretrain:
    """Fit a diffusion prior to parameter vectors or ratings: a file for --prior."""


@dataclass(frozen=True)
class Calibration:
    """Test the posteriors of dTS by simulation-based calibration."""


@dataclass(frozen=True)
class Bench:
    """Measure what a round costs."""


@dataclass(frozen=True)
class BenchChains:
    """Measure what a round costs on chains of perceptrons, and with expanded rewards."""


@dataclass(frozen=True)
class BenchEnvs:
    """Measure what a step of a vector environment costs, against single ones."""


@dataclass(frozen=True)
class Reproduce:
    """Run an experiment of the paper, or all: table, verdicts on the deck's claims, CSV, figure."""


@dataclass(frozen=True)
class Report:
    """Put all that reproduce found on one HTML page."""


COMMANDS: Any = (
    Run
    | Tune
    | Sweep
    | Plot
    | Pretrain
    | PosteriorError
    | Calibration
    | List
    | Bench
    | BenchChains
    | BenchEnvs
    | Reproduce
    | Report
)
