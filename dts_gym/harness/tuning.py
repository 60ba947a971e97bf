"""The exploration scale of every agent, tuned alike, on other instances than the reported ones.

With short horizons less exploration than the Bayesian answer is often far better, so agents are compared at 1 and
each at its own best; one grid serves them all.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dts_gym.harness.conduct import Conduct
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, label_of
from dts_gym.harness.jobs import Task, checked_seeds, make_experiment, run_all
from dts_gym.harness.records import TUNING, check_resumed, is_held, prepare_folder, write_reported
from dts_gym.registry import agent_class
from dts_gym.utils.arrays import Array
from dts_gym.utils.tables import Style, layout, plus_minus, standard_error
from dts_gym.utils.validation import positive
from dts_gym.utils.workers import Backend, Pool

GRID = (1.0, 0.7, 0.5, 0.35, 0.25, 0.1)


@dataclass(frozen=True, eq=False)
class TuningResult:
    """Regret of every agent at every point of the grid.

    Parameters
    ----------
    best : agent's label -> the exploration of least mean regret; of equal ones the first in the grid.
    regret : agent's label -> {exploration: (seeds,) final regret}, in the grid's order.
    comparison : all the runs.
    """

    best: Mapping[str, float]
    regret: Mapping[str, Mapping[float, Array]]
    comparison: Comparison

    def __str__(self) -> str:
        return tuning_table(self)


def tune(
    env_id: str,
    agents: Sequence[str | AgentSpec],
    *,
    grid: Sequence[float] = GRID,
    seeds: int | Sequence[int] = 5,
    num_rounds: int | None = None,
    env_settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    backend: Backend = "processes",
    num_workers: int | None = 1,
    ray_address: str | None = None,
    redraw_prior: bool = False,
    progress: bool = False,
) -> TuningResult:
    """Find the exploration scale at which each agent has the least regret.

    Parameters
    ----------
    grid : values tried for every agent that explores by a scale; the others (Random, for one) are left out.
    seeds : runs an agent and value. Seed s here shares no stream with seed s of `compare`.
    env_id, agents, num_rounds, env_settings, out, resume, redraw_prior, progress : as `compare`.
    backend, num_workers, ray_address : as `compare`.

    Raises
    ------
    ValueError
        As `compare`, or if the grid has a value that is not positive, or one twice, or no agent has a scale.

    Examples
    --------
    >>> result = tune("DiffusionBandit-v0", ["LinTS", "Random"], grid=(1, 0.1), seeds=2, num_rounds=30)
    >>> list(result.best), list(result.regret["LinTS"])
    (['LinTS'], [1.0, 0.1])
    """
    folder = None if out is None else Path(out)
    conduct = Conduct(folder, resume, backend, num_workers, ray_address, progress)
    listed = checked_seeds("seeds", seeds)
    trials = make_trials(
        make_experiment(env_id, agents, listed, num_rounds, env_settings, "tuning", redraw_prior), grid
    )
    if not trials.agents:
        raise ValueError(f"agents must be some with an exploration scale, got {[str(agent) for agent in agents]}")
    if conduct.out is not None:
        prepare_folder(conduct.out, trials, resume=conduct.resume)
    with conduct.open_pool() as pool:
        (tried,) = run_all([Task(trials, conduct.out)], conduct, pool)
    return choose(tried)


class Tuning(NamedTuple):
    """What tuning tries: exploration scales, and runs of each; with what settings of the environment instead."""

    grid: tuple[float, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]


def checked_tuning(
    experiments: Sequence[Experiment],
    grid: Sequence[float],
    seeds: int | Sequence[int],
    settings: Mapping[str, Any] | None = None,
) -> Tuning:
    """The tuning to come before experiments; ValueError if it makes no sense or a setting is unknown."""
    if any(experiment.env_settings.get("instance_seed") is not None for experiment in experiments):
        raise ValueError("tune must be off where env_settings pin the instance: it would be tuned on and reported")
    if settings is not None and not isinstance(settings, Mapping):
        raise ValueError(f"tuning_settings must be a mapping of names to values, got {settings!r}")
    tuning = Tuning(_checked_grid(grid), checked_seeds("tuning_seeds", seeds), dict(settings or {}))
    for experiment in experiments if tuning.settings else ():
        apart = _apart(experiment, tuning)
        make_experiment(
            apart.env_id, apart.agents, 1, apart.num_rounds, apart.env_settings, "tuning", apart.redraw_prior
        )
    return tuning


def _apart(experiment: Experiment, tuning: Tuning) -> Experiment:
    """The experiment on the seeds and with the settings of its tuning."""
    return replace(experiment, seeds=tuning.seeds, env_settings={**experiment.env_settings, **tuning.settings})


def run_tasks(tasks: Sequence[Task], tuning: Tuning | None, conduct: Conduct, pool: Pool) -> list[Comparison]:
    """Run experiments in the folders of the tasks, made ready; with ``tuning``, agents as they are and tuned.

    All of the tuning comes before all that is reported, each a single batch of jobs.
    """
    if tuning is None:
        _prepare(tasks, conduct.resume)
        return run_all(tasks, conduct, pool)
    noted: dict[str, Any] = {"grid": list(tuning.grid), "seeds": list(tuning.seeds)}
    if tuning.settings:
        noted["settings"] = dict(tuning.settings)
    tasks = [Task(replace(task.experiment, tuning=noted), task.out) for task in tasks]
    trials = [
        Task(make_trials(_apart(experiment, tuning), tuning.grid), out and out / TUNING) for experiment, out in tasks
    ]
    _prepare([*tasks, *trials], conduct.resume)
    tried = run_all(trials, conduct, pool)
    reported = [_reported(task, trial) for task, trial in zip(tasks, tried, strict=True)]
    final = run_all(reported, conduct, pool)
    return [replace(comparison, tuning=trial) for comparison, trial in zip(final, tried, strict=True)]


def _prepare(tasks: Sequence[Task], resume: bool) -> None:
    """Make all folders ready, none where one is refused."""
    kept = [(task.out, task.experiment) for task in tasks if task.out is not None]
    for out, experiment in kept:
        if resume and out.is_dir() and is_held(out, resume=True):
            check_resumed(out, experiment)
    for out, experiment in kept:
        prepare_folder(out, experiment, resume=resume)


def _reported(task: Task, tried: Comparison) -> Task:
    """An experiment with its tuned agents, noted in its folder."""
    agents = with_tuned(task.experiment.agents, choose(tried).best)
    if task.out is not None:
        write_reported(task.out, agents)
    return Task(replace(task.experiment, agents=agents), task.out)


def make_trials(experiment: Experiment, grid: Sequence[float]) -> Experiment:
    """The experiment that tries every value of the grid for every agent that has an exploration scale."""
    values = _checked_grid(grid)
    trials = {
        (trial := at_exploration(spec, value)).label: trial
        for spec in experiment.agents
        if default_exploration(spec.id) is not None
        for value in values
    }
    return replace(experiment, agents=tuple(trials.values()), role="tuning", tuning=None)


def choose(comparison: Comparison) -> TuningResult:
    """The best value of every agent, from the runs of `make_trials`."""
    regret: dict[str, dict[float, Array]] = {}
    for spec in comparison.experiment.agents:
        value = float(spec.settings["exploration"])
        regret.setdefault(base_label(spec), {})[value] = comparison.final_regret(spec.label)
    best = {label: min(points, key=lambda v: float(points[v].mean())) for label, points in regret.items()}
    return TuningResult(best, regret, comparison)


def with_tuned(specs: Sequence[AgentSpec], best: Mapping[str, float]) -> tuple[AgentSpec, ...]:
    """The agents, each followed by its tuned self where that is another.

    Raises
    ------
    ValueError
        If another agent has the label that a tuned one gets.
    """
    listed: dict[str, AgentSpec] = {}
    given = {spec.label: spec for spec in specs}
    for spec in specs:
        listed[spec.label] = spec
        default = default_exploration(spec.id)
        if default is None or spec.settings.get("exploration", default) == best[base_label(spec)]:
            continue
        tuned = at_exploration(spec, best[base_label(spec)])
        other = given.get(tuned.label, tuned)
        if (other.id, other.settings) != (tuned.id, tuned.settings):
            raise ValueError(f"agents must leave the label {tuned.label!r} to the tuned {spec.id}, got it for {other}")
        listed.setdefault(tuned.label, tuned)
    return tuple(listed.values())


def default_exploration(agent_id: str) -> float | None:
    """The exploration scale that an agent has unless told; None if it has no such setting."""
    parameter = inspect.signature(agent_class(agent_id)).parameters.get("exploration")
    if parameter is None:
        return None
    return 1.0 if parameter.default is parameter.empty else float(parameter.default)


def at_exploration(spec: AgentSpec, value: float) -> AgentSpec:
    """An agent at another exploration scale, labelled so.

    Examples
    --------
    >>> at_exploration(AgentSpec("dTS", {"branch": 1}), 0.25).label
    'dTS (branch 1, exploration 0.25)'
    >>> at_exploration(AgentSpec("dTS", label="mine"), 0.25).label
    'mine (exploration 0.25)'
    """
    plain = {name: setting for name, setting in spec.settings.items() if name != "exploration"}
    settings = {**plain, "exploration": value}
    base = base_label(spec)
    label = label_of(spec.id, settings) if base == label_of(spec.id, plain) else base + _suffix(value)
    return AgentSpec(spec.id, settings, label)


def base_label(spec: AgentSpec) -> str:
    """An agent's label without its exploration scale."""
    if spec.label == label_of(spec.id, spec.settings):
        return label_of(spec.id, {name: value for name, value in spec.settings.items() if name != "exploration"})
    return spec.label.removesuffix(_suffix(spec.settings.get("exploration")))


def tuning_table(result: TuningResult, style: Style = "text") -> str:
    """Mean final regret with standard error at every point of the grid, the best one marked ``*``.

    Ends with a line for every agent whose best value is the smallest or the largest of the grid (not in "csv").
    """
    values = list(dict.fromkeys(value for points in result.regret.values() for value in points))
    rows = [
        [label, *(_cell(points, value, result.best[label]) for value in values)]
        for label, points in result.regret.items()
    ]
    text = layout([["exploration", *(f"{value:g}" for value in values)], *rows], style)
    edges = [
        f"{label}: best at {best:g}, an end of the grid; values beyond it were not tried\n"
        for label, best in result.best.items()
        if best != 1 and best in (min(values), max(values))
    ]
    return text + ("\n" if edges else "") + "".join(edges)


def _cell(points: Mapping[float, Array], value: float, best: float) -> str:
    regret = points[value]
    return plus_minus(float(regret.mean()), float(standard_error(regret))) + ("*" if value == best else "")


def _suffix(value: Any) -> str:
    return label_of("", {"exploration": value})


def _checked_grid(grid: Sequence[float]) -> tuple[float, ...]:
    values = tuple(positive("grid", value) for value in grid)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"grid must be different positive numbers, got {grid!r}")
    return values
