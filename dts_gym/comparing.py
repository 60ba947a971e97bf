"""Agents compared on the same instances: the work of `dts_gym.compare`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from dts_gym.arrays import integer
from dts_gym.experiment import AgentSpec, Comparison
from dts_gym.records import prepare_folder
from dts_gym.sweeps import checked_folder, checked_seeds, make_experiment, run_all
from dts_gym.tuning import GRID, tune_and_run


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
    num_workers: int = 1,
    redraw_prior: bool = False,
    progress: bool = False,
) -> Comparison:
    """Run agents on the same instances, contexts and noise.

    Parameters
    ----------
    env_id : as ``gym.make`` takes it; ``"module:Id"`` imports the module first, in worker processes too.
    agents : ids, with settings as in ``"dTS:exploration=0.3,branch=1"``, or `AgentSpec`.
    seeds : how many runs an agent, or their seeds; run s is the same instance for every agent.
    num_rounds : of every run, at most the horizon, which None takes.
    env_settings : arguments of ``gym.make``.
    out : a new or empty folder for the records, written as each run ends; None keeps none.
    resume : take the runs that ``out`` holds and do the others.
    tune : first find every agent's best exploration on other seeds, then report each also at that one.
    grid, tuning_seeds : of the tuning, as `dts_gym.tune` takes them.
    tuning_settings : what of ``env_settings`` is different while tuning, for one the movies that are played.
    num_workers : processes; results are the same for any number, but for the last bits where BLAS uses several
        threads in one process and not in the other (workers have one thread each). Times are not. Workers know the
        agents that importing ``dts_gym`` and the module of ``env_id`` registers.
    redraw_prior : draw a prior for each seed, where one prior serves all seeds otherwise.
    progress : whether to show a bar on stderr.

    Returns
    -------
    Comparison
        Of the agents in the order given, a tuned one after its own.

    Raises
    ------
    ValueError
        If an id or setting is unknown or out of range, labels or seeds repeat, or ``out`` does not fit.

    Examples
    --------
    >>> result = compare("DiffusionBandit-v0", ["dTS", "LinTS:exploration=0.5"], seeds=2, num_rounds=20)
    >>> result.labels, result.regret("dTS").shape
    (['dTS', 'LinTS (exploration 0.5)'], (2, 20))
    """
    experiment = make_experiment(env_id, agents, seeds, num_rounds, env_settings, "report", redraw_prior)
    folder = checked_folder(out, resume)
    workers = integer("num_workers", num_workers, 1)
    if tune:
        if experiment.env_settings.get("instance_seed") is not None:
            raise ValueError("tune must be off where env_settings pin the instance: it would be tuned on and reported")
        tried = checked_seeds("tuning_seeds", tuning_seeds)
        return tune_and_run(
            experiment, grid, tried, folder, resume, tuning_settings or {}, num_workers=workers, progress=progress
        )
    if folder is not None:
        prepare_folder(folder, experiment, resume=resume)
    return run_all(experiment, folder, num_workers=workers, progress=progress)
