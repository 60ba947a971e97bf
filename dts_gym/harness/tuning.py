"""The exploration scale of every agent, tuned alike, on other instances than the reported ones.

With short horizons less exploration than the Bayesian answer is often far better, so agents are compared at 1 and
each at its own best. One grid serves them all at first. Then it grows for each agent by itself until the agent's best
scale has worse ones on both sides (`dts_gym.harness.brackets`). Where the search ends before that, every table and
figure that quotes the scale marks it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dts_gym.harness.brackets import ScaleEnd, best_of, end_of, next_scales
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, base_label
from dts_gym.harness.explorations import at_exploration, checked_grid, exploration_of, make_trials, with_tuned
from dts_gym.harness.jobs import Task, checked_seeds, make_experiment, run_all
from dts_gym.harness.records import TUNING, check_resumed, is_held, prepare_folder, write_reported
from dts_gym.utils.arrays import Array
from dts_gym.utils.shown import Display, ShownTable
from dts_gym.utils.tables import Style, csv_text, data_frame, footnotes, layout, marked, plus_minus, standard_error
from dts_gym.utils.workers import Backend, Pool

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = (1.0, 0.5, 0.25)  # coarse: the search widens and refines it


@dataclass(frozen=True, eq=False, repr=False)
class TuningResult(ShownTable):
    """Regret of every agent at every exploration scale that was tried for it.

    Parameters
    ----------
    best : agent's label -> the exploration of least mean regret; of scales with equal regret the one tried first.
    regret : agent's label -> {exploration: (seeds,) final regret}, from the largest to the smallest; agents may have
        different ones.
    comparison : all runs of the tuning.
    """

    best: Mapping[str, float]
    regret: Mapping[str, Mapping[float, Array]]
    comparison: Comparison

    @property
    def ends(self) -> dict[str, ScaleEnd]:
        """Agent's label -> the end of its scales at which its regret is least; no entry where the best lies inside."""
        found = {label: end_of(_means(regret)) for label, regret in self.regret.items()}
        return {label: end for label, end in found.items() if end is not None}

    def to_pandas(self) -> Any:
        """A pandas DataFrame with a row for each run: "agent", "exploration", "seed", "regret" and "best".

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        rows = [
            (label, scale, seed, final, scale == self.best[label])
            for label, points in self.regret.items()
            for scale, regret in points.items()
            for seed, final in zip(self.comparison.experiment.seeds, regret, strict=True)
        ]
        return data_frame(rows, ["agent", "exploration", "seed", "regret", "best"])

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw final regret over exploration scales, as `dts_gym.figures.plot_scales` does; returns the axes."""
        from dts_gym.harness.figures import plot_scales

        return plot_scales(self, axes)

    def __str__(self) -> str:
        return tuning_table(self)

    def _repr_table(self) -> Display:
        asked = self.comparison.experiment
        title = f"Tuning on {asked.env_id}: {asked.num_rounds} rounds, {len(asked.seeds)} seeds a scale, * the best"
        return Display(title, _tuning_rows(self), [f"{label}: {end.text}" for label, end in self.ends.items()])


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
    bracket: bool = True,
) -> TuningResult:
    """Find the exploration scale at which each agent has the least regret.

    Parameters
    ----------
    grid : values tried for every agent whose exploration is a number. The others are left out: those without such a
        setting (for example Random) and those that explore by a rule.
    seeds : number of runs of each agent at each value. Seed s here shares no stream with seed s of `compare`.
    env_id, agents, num_rounds, env_settings, out, resume, redraw_prior, progress : as in `compare`.
    backend, num_workers, ray_address : as in `compare`.
    bracket : whether the grid grows, for each agent by itself, until the agent's best value lies inside; otherwise
        exactly the values of ``grid`` are tried.

    Raises
    ------
    ValueError
        As in `compare`, or if the grid has a value that is not positive or repeated, or no agent has a scale.

    Notes
    -----
    While an agent's best value is the smallest (largest) tried, its half (double) is tried too, on the same seeds; then
    the geometric midpoints beside the best. That finds the best to a factor of about sqrt(2), for a regret with a
    single minimum and up to the noise of the runs. At most 8 values beyond the grid are tried, none below 0.001 or
    above 1000; a best value that stays at an end is marked in all tables and figures.

    The *cost* is counted in values tried for an agent, each on all seeds: with the default grid 5 where the best is
    among its inner values, 6 where it is one halving or doubling away from there, and so on; at most 13.
    `dts_gym.harness.brackets` has the rules, also for equal means.

    Examples
    --------
    >>> result = tune("DiffusionBandit-v0", ["LinTS", "Random"], grid=(1, 0.1), seeds=2, num_rounds=30, bracket=False)
    >>> list(result.best), list(result.regret["LinTS"])
    (['LinTS'], [1.0, 0.1])
    >>> result  # doctest: +ELLIPSIS
    Tuning on DiffusionBandit-v0: 30 rounds, 2 seeds a scale, * the best
    exploration                1           0.1
    LinTS ...
    """
    folder = None if out is None else Path(out)
    conduct = Conduct(folder, resume, backend, num_workers, ray_address, progress)
    listed = checked_seeds("seeds", seeds)
    trials = make_trials(
        make_experiment(env_id, agents, listed, num_rounds, env_settings, "tuning", redraw_prior), grid, bracket
    )
    if not trials.agents:
        raise ValueError(f"agents must be some with an exploration scale, got {[str(agent) for agent in agents]}")
    with conduct.open_pool() as pool, conduct.lock_folder():
        if conduct.out is not None:
            prepare_folder(conduct.out, trials, resume=conduct.resume)
        (tried,) = _search([Task(trials, conduct.out)], conduct, pool)
    return choose(tried)


class Tuning(NamedTuple):
    """The settings of a tuning.

    Attributes
    ----------
    grid : exploration scales that are tried first, for every agent.
    seeds : number of runs of each scale.
    settings : the environment's settings that differ while tuning.
    bracket : whether more scales follow until the best lies inside.
    """

    grid: tuple[float, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    bracket: bool = True


def checked_tuning(
    experiments: Sequence[Experiment],
    grid: Sequence[float],
    seeds: int | Sequence[int],
    settings: Mapping[str, Any] | None = None,
    bracket: bool = True,
) -> Tuning:
    """Return the tuning that comes before experiments; ValueError if it is impossible or a setting is unknown."""
    if any(experiment.env_settings.get("instance_seed") is not None for experiment in experiments):
        raise ValueError("tune must be off where env_settings pin the instance: it would be tuned on and reported")
    if settings is not None and not isinstance(settings, Mapping):
        raise ValueError(f"tuning_settings must be a mapping of names to values, got {settings!r}")
    tuning = Tuning(checked_grid(grid), checked_seeds("tuning_seeds", seeds), dict(settings or {}), bracket)
    specs = [spec for experiment in experiments for spec in experiment.agents]
    if all(exploration_of(spec) is None for spec in specs):
        listed = ", ".join(dict.fromkeys(spec.label for spec in specs))
        warnings.warn(f"there is nothing to tune: no agent has a number as its exploration, got {listed}", stacklevel=3)
    for experiment in experiments if tuning.settings else ():
        apart = _apart(experiment, tuning)
        make_experiment(
            apart.env_id, apart.agents, 1, apart.num_rounds, apart.env_settings, "tuning", apart.redraw_prior
        )
    return tuning


def _apart(experiment: Experiment, tuning: Tuning) -> Experiment:
    """The experiment with the seeds and the settings of its tuning."""
    return replace(experiment, seeds=tuning.seeds, env_settings={**experiment.env_settings, **tuning.settings})


def run_tasks(tasks: Sequence[Task], tuning: Tuning | None, conduct: Conduct, pool: Pool) -> list[Comparison]:
    """Run experiments in the prepared folders of the tasks; with ``tuning``, agents run both untuned and tuned.

    All of the tuning comes before all reported runs. The first grid of all experiments is a single batch of jobs, as is
    each step of their searches and, last, all reported runs.
    """
    if tuning is None:
        _prepare(tasks, conduct.resume)
        return run_all(tasks, conduct, pool)
    noted: dict[str, Any] = {"grid": list(tuning.grid), "seeds": list(tuning.seeds), "bracket": tuning.bracket}
    if tuning.settings:
        noted["settings"] = dict(tuning.settings)
    tasks = [Task(replace(task.experiment, tuning=noted), task.out) for task in tasks]
    trials = [
        Task(make_trials(_apart(experiment, tuning), tuning.grid, tuning.bracket), out and out / TUNING)
        for experiment, out in tasks
    ]
    _prepare([*tasks, *trials], conduct.resume)
    tried = _search(trials, conduct, pool)
    reported = [_reported(task, trial) for task, trial in zip(tasks, tried, strict=True)]
    final = run_all(reported, conduct, pool)
    return [replace(comparison, tuning=trial) for comparison, trial in zip(final, tried, strict=True)]


def _search(trials: Sequence[Task], conduct: Conduct, pool: Pool) -> list[Comparison]:
    """Run the trials of `make_trials` and those that brackets add; returns for each task a comparison of all scales."""
    tried = run_all(trials, conduct, pool)
    while any(more := [_next_trials(comparison) for comparison in tried]):
        steps = {
            place: Task(replace(trials[place].experiment, agents=specs), trials[place].out)
            for place, specs in enumerate(more)
            if specs
        }
        grown = {place: _with_more(tried[place].experiment, more[place]) for place in steps}
        for place, experiment in grown.items():
            if (out := trials[place].out) is not None:
                write_reported(out, experiment.agents)  # before the runs, as for the first grid
        for place, found in zip(steps, run_all(list(steps.values()), conduct, pool), strict=True):
            runs = {**tried[place].runs, **found.runs}
            agents = grown[place].agents
            tried[place] = Comparison(grown[place], {spec.label: runs[spec.label] for spec in agents})
    return tried


def _next_trials(tried: Comparison) -> tuple[AgentSpec, ...]:
    """The agents to run next, at scales not tried yet; none where every search has ended."""
    asked = tried.experiment.tuning or {}
    if not asked.get("bracket"):
        return ()
    bases = {base_label(spec): spec for spec in tried.experiment.agents}
    return tuple(
        at_exploration(bases[base], scale)
        for base, regret in tried.scales.items()
        for scale in next_scales(_means(regret), asked["grid"])
    )


def _with_more(experiment: Experiment, more: Sequence[AgentSpec]) -> Experiment:
    """The experiment with more trials, each after the earlier trials of its agent."""
    grouped: dict[str, list[AgentSpec]] = {}
    for spec in (*experiment.agents, *more):
        grouped.setdefault(base_label(spec), []).append(spec)
    return replace(experiment, agents=tuple(spec for specs in grouped.values() for spec in specs))


def _means(regret: Mapping[float, Array]) -> dict[float, float]:
    return {scale: float(values.mean()) for scale, values in regret.items()}


def _prepare(tasks: Sequence[Task], resume: bool) -> None:
    """Prepare all folders, or none where one is refused."""
    kept = [(task.out, task.experiment) for task in tasks if task.out is not None]
    for out, experiment in kept:
        if resume and out.is_dir() and is_held(out, resume=True):
            check_resumed(out, experiment)
    for out, experiment in kept:
        prepare_folder(out, experiment, resume=resume)


def _reported(task: Task, tried: Comparison) -> Task:
    """An experiment with its tuned agents, recorded in its folder."""
    agents = with_tuned(task.experiment.agents, choose(tried).best)
    if task.out is not None:
        write_reported(task.out, agents)
    return Task(replace(task.experiment, agents=agents), task.out)


def choose(comparison: Comparison) -> TuningResult:
    """The best value of every agent, from the runs of a tuning."""
    tried = comparison.scales
    best = {label: best_of(_means(regret)) for label, regret in tried.items()}
    ordered = {label: dict(sorted(regret.items(), reverse=True)) for label, regret in tried.items()}
    return TuningResult(best, ordered, comparison)


def tuning_table(result: TuningResult, style: Style = "text") -> str:
    """Format the mean final regret with standard error at every exploration scale tried, the best one marked ``*``.

    Where the regret is least at an end of an agent's scales, the agent is marked, with a line below the table.

    Parameters
    ----------
    result : what `tune` or `choose` returned.
    style : "text" (aligned), "markdown", or "csv" (all digits, a line for each agent and scale; the marks are columns).
    """
    if style == "csv":
        return _tuning_csv(result)
    return layout(_tuning_rows(result), style) + footnotes(f"{label}: {end.text}" for label, end in result.ends.items())


def _tuning_rows(result: TuningResult) -> list[list[str]]:
    """The table's cells, the header first."""
    ends = result.ends
    values = sorted({value for points in result.regret.values() for value in points}, reverse=True)
    rows = [
        [marked(label, label in ends), *(_cell(points, value, result.best[label]) for value in values)]
        for label, points in result.regret.items()
    ]
    return [["exploration", *(f"{value:g}" for value in values)], *rows]


def _tuning_csv(result: TuningResult) -> str:
    rows = [
        [label, scale, regret.mean(), float(standard_error(regret)), len(regret), int(scale == result.best[label]), end]
        for label, points in result.regret.items()
        for end in [result.ends[label].side if label in result.ends else ""]
        for scale, regret in points.items()
    ]
    return csv_text(["agent", "exploration", "regret", "standard_error", "seeds", "best", "scale_end"], rows)


def _cell(points: Mapping[float, Array], value: float, best: float) -> str:
    if value not in points:
        return ""
    regret = points[value]
    return plus_minus(float(regret.mean()), float(standard_error(regret))) + ("*" if value == best else "")
