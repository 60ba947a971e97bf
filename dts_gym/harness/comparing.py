"""Agents compared on the same instances: the work of `dts_gym.compare`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dts_gym.harness.conduct import Conduct
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment
from dts_gym.harness.explorations import checked_grid
from dts_gym.harness.jobs import Task, checked_seeds, make_experiment
from dts_gym.harness.tuning import GRID, Tuning, checked_tuning, run_tasks
from dts_gym.utils.validation import boolean
from dts_gym.utils.workers import Backend


def compare(
    env_id: str,
    agents: Sequence[str | AgentSpec],
    *,
    seeds: int | Sequence[int] = 10,
    num_rounds: int | None = None,
    env_settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    tune: bool = False,
    grid: Sequence[float] = GRID,
    tuning_seeds: int | Sequence[int] = 5,
    tuning_settings: Mapping[str, Any] | None = None,
    backend: Backend = "processes",
    num_workers: int | None = 1,
    ray_address: str | None = None,
    redraw_prior: bool = False,
    progress: bool = False,
    bracket: bool = True,
    auto_once: bool = False,
) -> Comparison:
    """Run agents on the same instances, contexts and noise.

    Parameters
    ----------
    env_id : an id as for ``gym.make``; ids that a script registers are known to worker processes too.
    agents : ids, with settings as in ``"dTS:exploration=0.3,branch=1"``, or `AgentSpec`.
    seeds : number of runs of each agent, or their seeds; run s is the same instance for every agent.
    num_rounds : number of rounds of every run, at most the horizon; None uses the horizon.
    env_settings : arguments of ``gym.make``.
    out : a new or empty folder for the records, written as each run ends; None keeps none.
    resume : whether to keep the runs that ``out`` holds and execute the others; seeds and agents may differ from
        before.
    tune : whether to find every agent's best exploration scale on other seeds first, and report each also at that
        scale.
    grid, tuning_seeds, bracket : settings of the tuning: the ``grid``, ``seeds`` and ``bracket`` of `dts_gym.tune`.
    tuning_settings : the ``env_settings`` that differ while tuning, for example which movies are played.
    backend : where runs are executed, "serial", "processes" or "ray", see `dts_gym.utils.workers.open_pool`. Workers
        know the agents that importing ``dts_gym`` and the module of ``env_id`` registers.
    num_workers : number of runs at a time; None is as many as there are usable cores. The results are the same for any
        number, any backend and any order; times are not.
    ray_address : address of a Ray cluster; None is this machine.
    redraw_prior : whether to draw a prior for each seed instead of one prior for all seeds.
    progress : whether to show a bar on stderr.
    auto_once : whether agents with ``exploration="auto"`` choose it once, on the prior of the first seed, and follow
        that in every run; otherwise they choose for each prior, which costs as much as some 60 runs each time.

    Returns
    -------
    Comparison
        The agents' runs in the order given, each tuned agent after its untuned one.

    Raises
    ------
    ValueError
        If an id or setting is unknown or out of range, labels or seeds repeat, or ``out`` does not fit.
    OSError
        If the folder or a record cannot be written, another process writes to ``out``, or a worker dies; finished runs
        are kept.

    Examples
    --------
    >>> result = compare("DiffusionBandit-v0", ["dTS", "LinTS:exploration=0.5"], seeds=2, num_rounds=20)
    >>> result.labels, result.regret("dTS").shape
    (['dTS', 'LinTS (exploration 0.5)'], (2, 20))
    >>> result  # doctest: +ELLIPSIS
    2 agents on DiffusionBandit-v0: 20 rounds, 2 seeds
    agent                     final regret    95 % interval   more than dTS (95 % interval)
    dTS                          ... ± ...
    LinTS (exploration 0.5)      ... ± ...
    """
    folder = None if out is None else Path(out)
    conduct = Conduct(folder, resume, backend, num_workers, ray_address, progress)
    tune, bracket = boolean("tune", tune), boolean("bracket", bracket)
    redraw_prior, auto_once = boolean("redraw_prior", redraw_prior), boolean("auto_once", auto_once)
    experiment = make_experiment(env_id, agents, seeds, num_rounds, env_settings, "report", redraw_prior, auto_once)
    if tuning_settings and not tune:
        raise ValueError(f"tuning_settings must be left out without tune, got {tuning_settings!r}")
    checked_grid(grid), checked_seeds("tuning_seeds", tuning_seeds)  # also where they are not used
    tuning = checked_tuning([experiment], grid, tuning_seeds, tuning_settings, bracket) if tune else None
    return run_experiment(experiment, tuning, conduct)


def run_experiment(experiment: Experiment, tuning: Tuning | None, conduct: Conduct) -> Comparison:
    """Run an experiment that was checked, in a pool of its own; with ``tuning``, agents run both untuned and tuned."""
    with conduct.open_pool() as pool, conduct.lock_folder():
        (comparison,) = run_tasks([Task(experiment, conduct.out)], tuning, conduct, pool)
    return comparison
