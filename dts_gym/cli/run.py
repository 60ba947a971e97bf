"""``dts-gym run``, ``tune`` and ``plot``: agents compared on an environment, and shown again from their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from dts_gym.cli.env_options import env_options, options_text, parse_env_settings
from dts_gym.cli.folders import results_folder, resumable
from dts_gym.harness.comparing import compare
from dts_gym.harness.experiment import Comparison, table
from dts_gym.harness.figures import regret_figure
from dts_gym.harness.records import load_records
from dts_gym.harness.tuning import GRID, choose, tune, tuning_table
from dts_gym.utils.workers import Backend


@dataclass(frozen=True)
class RunOptions:
    """The options that `run` and `tune` share.

    Parameters
    ----------
    env :
        Id of the environment; its own options are --env.NAME, and --env.help lists them.
    agents :
        Ids of agents; settings follow a colon, with no spaces: LinTS:exploration=0.5.
    seeds :
        Number of runs of each agent; run s is the same instance for every agent.
    rounds :
        Number of rounds of a run; the environment's horizon unless given.
    out :
        New folder for records, table and figure; one under results/ unless given.
    resume :
        Resume the runs in --out; --seeds and --agents may differ from before.
    backend :
        Where runs are executed; the results are the same.
    workers :
        Number of runs at a time.
    ray_address :
        Address of a running Ray cluster, with --backend ray; Ray is started on this machine unless given.
    data :
        Path or name of the environment's data set; short for --env.data.
    prior :
        A file that `dts-gym pretrain` or Prior.save wrote; short for --env.prior.
    redraw_prior :
        Draw a prior for each seed, not one for all.
    grid :
        Exploration scales that tuning tries first.
    progress :
        Show a progress bar on stderr.
    """

    env: str = "DiffusionBandit-v0"
    agents: tuple[str, ...] = ("dUCB", "dTS", "LinTS", "LinUCB", "HierTS")
    seeds: int = 10
    rounds: int | None = None
    out: Path | None = None
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    backend: Backend = "processes"
    workers: int = 1
    ray_address: str | None = None
    data: str | None = None
    prior: str | None = None
    redraw_prior: tyro.conf.FlagCreatePairsOff[bool] = False
    grid: tuple[float, ...] = GRID
    progress: bool = True


_Shared = Annotated[RunOptions, tyro.conf.arg(name="")]


def run_comparison(
    env_words: Sequence[str],
    /,
    options: _Shared = RunOptions(),  # frozen
    tune: tyro.conf.FlagCreatePairsOff[bool] = False,
    tuning_seeds: int = 5,
    bracket: bool = True,
    auto_once: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> str:
    """Compare agents on the same instances: a table, a figure, records.

    Parameters
    ----------
    options :
        The options that run and tune share.
    tune :
        Report every agent also at its best exploration scale, found on other seeds; agents whose exploration follows
        a rule (dUCB) are left as they are.
    tuning_seeds :
        With --tune, the number of runs of each agent at each value of the grid.
    bracket :
        With --tune, try smaller or larger scales for each agent until the best is not at the end.
    auto_once :
        Agents with exploration=auto choose it once, on the first seed's prior, not for each prior.

    Returns
    -------
    str
        The paths of the figure and of the records; the tables are printed above them.

    Notes
    -----
    ``env_words`` are the options of the environment, ``--env.NAME VALUE``, which the command line keeps apart.
    """
    if _asks_help(env_words):
        return _env_help(options.env)
    folder, asked = _asked(options, env_words)
    with resumable(("--out", str(folder)), ("--resume",)):
        comparison = compare(**asked, tune=tune, tuning_seeds=tuning_seeds, bracket=bracket, auto_once=auto_once)
    return _shown(comparison, folder)


def run_tuning(
    env_words: Sequence[str],
    /,
    options: _Shared = RunOptions(),  # frozen
    bracket: bool = True,
) -> str:
    """Find every agent's best exploration scale.

    Agents whose exploration follows a rule (dUCB) are left as they are.

    Parameters
    ----------
    options :
        The options that run and tune share.
    bracket :
        Try smaller or larger scales for each agent until the best is not at the end.

    Returns
    -------
    str
        The paths of the figure and of the records; the table is printed above them.

    Notes
    -----
    ``env_words`` are the options of the environment, ``--env.NAME VALUE``, which the command line keeps apart.
    """
    if _asks_help(env_words):
        return _env_help(options.env)
    folder, asked = _asked(options, env_words)
    with resumable(("--out", str(folder)), ("--resume",)):
        result = tune(**asked, bracket=bracket)
    return _shown(result.comparison, folder)


def run_plot(folder: tyro.conf.Positional[Path], figure: Path | None = None) -> str:
    """Print the tables and draw the figure of a folder of records again.

    Parameters
    ----------
    folder :
        The folder that run or tune wrote, their --out.
    figure :
        The PNG to write; regret.png in the folder unless given.

    Returns
    -------
    str
        The paths of the figure and of the records; the tables are printed above them.
    """
    return _shown(load_records(folder), folder, figure)


def _shown(comparison: Comparison, folder: Path, figure: Path | None = None) -> str:
    """Print the tables, draw the figure and return the paths of both."""
    tuned = comparison if comparison.experiment.role == "tuning" else comparison.tuning
    if tuned is not None and tuned.runs:
        print(f"Tuning: mean regret at each scale (* chosen)\n{tuning_table(choose(tuned)).rstrip()}\n")
    if tuned is not comparison:
        print(table(comparison))
    if not comparison.runs:
        return f"records: {folder}"
    path = folder / "regret.png" if figure is None else figure
    regret_figure(comparison, path)
    return f"figure:  {path}\nrecords: {folder}"


def _asked(options: RunOptions, env_words: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """The folder of the results, and the arguments of `compare` and `tune`."""
    folder = results_folder(options.out, options.resume, options.env)
    return folder, {
        "env_id": options.env,
        "agents": options.agents,
        "seeds": options.seeds,
        "num_rounds": options.rounds,
        "env_settings": _env_settings(options.env, env_words, options.data, options.prior),
        "out": folder,
        "resume": options.resume,
        "grid": options.grid,
        "backend": options.backend,
        "num_workers": options.workers,
        "ray_address": options.ray_address,
        "redraw_prior": options.redraw_prior,
        "progress": options.progress,
    }


def _asks_help(env_words: Sequence[str]) -> bool:
    return any(word.startswith("--env.help") for word in env_words)


def _env_help(env: str) -> str:
    return f"{env}\n{options_text(env, described=True)}"


def _env_settings(env: str, env_words: Sequence[str], data: str | None, prior: str | None) -> dict[str, Any]:
    """The settings of an environment, from its own options and the short forms of two of them."""
    words = list(env_words)
    for name, value in (("data", data), ("prior", prior)):
        if value is not None:
            if name not in env_options(env):
                raise ValueError(f"--{name} is for environments with such an option, {env} has none")
            words += [f"--env.{name}", value]
    return parse_env_settings(env, words)
