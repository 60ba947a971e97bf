"""The runs of experiments as jobs of one pool: every agent on every seed, paired, resumable."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from dts_gym.harness import records
from dts_gym.harness.agent_texts import parse_agent
from dts_gym.harness.code_state import code_state, distinct, state_text
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, Role, kept_rounds
from dts_gym.harness.groups import Group, Job, grouped
from dts_gym.harness.run_record import RunRecord, blas_threads
from dts_gym.harness.run_result import RunResult
from dts_gym.harness.runner import check_run, horizon_of, run
from dts_gym.harness.user_entries import Entries, take_entries, user_entries
from dts_gym.registry import env_creator, make_agent, versioned
from dts_gym.utils.progress import counts_shown, progress_bar
from dts_gym.utils.seeding import seed_sequence
from dts_gym.utils.validation import integer, listed, plain
from dts_gym.utils.workers import Pool

# Fixed for ever, as the keys of `dts_gym.utils.seeding`.
_ROLE_KEYS: dict[Role, int] = {"report": 51, "tuning": 52}
_MOST_SEEDS = 1_000_000


class Task(NamedTuple):
    """An experiment to run, and the prepared folder of its records; None keeps no records."""

    experiment: Experiment
    out: Path | None


class RunSeeds(NamedTuple):
    """Seeds of one run: for the environment's reset, for the agent, and for the prior where it is redrawn."""

    env: int
    agent: int
    prior: int


def run_seeds(seed: int, role: Role = "report") -> RunSeeds:
    """The seeds of run ``seed``, the same for every agent.

    Reported runs have even seeds and tuning runs odd ones: no agent is reported on instances that it was tuned on.

    Examples
    --------
    >>> run_seeds(0).env % 2, run_seeds(0, "tuning").env % 2
    (0, 1)
    """
    root = np.random.SeedSequence(seed, spawn_key=(_ROLE_KEYS[role],))
    odd = int(role == "tuning")
    draws = (int(seed_sequence(root, key).generate_state(1, np.uint64)[0]) for key in ("instance", "agent", "prior"))
    return RunSeeds(*((draw >> 2) * 2 + odd for draw in draws))


def make_experiment(
    env_id: str,
    agents: Sequence[str | AgentSpec],
    seeds: int | Sequence[int],
    num_rounds: int | None,
    env_settings: Mapping[str, Any] | None,
    role: Role,
    redraw_prior: bool,
    auto_once: bool = False,
) -> Experiment:
    """A checked experiment: every agent has played one round of its environment.

    Raises
    ------
    ValueError
        As `compare`.
    """
    if isinstance(agents, str):
        raise ValueError(f"agents must be a list of ids, got {agents!r}")
    for given in agents:
        if not isinstance(given, str | AgentSpec):
            raise ValueError(
                f"agents must be ids or AgentSpecs, of which each run makes a fresh agent, got {given!r:.200}"
            )
    specs = tuple(agent if isinstance(agent, AgentSpec) else parse_agent(agent) for agent in agents)
    labels = [spec.label for spec in specs]
    if not specs or len(set(labels)) < len(labels):
        raise ValueError(f"agents must be at least one, with different labels, got {labels}")
    if not isinstance(env_settings or {}, Mapping):
        raise ValueError(f"env_settings must be a mapping of names to settings, got {env_settings!r:.200}")
    settings = {name: plain(value) for name, value in dict(env_settings or {}).items()}
    _check_env_settings(env_id, settings, redraw_prior)
    env_id = versioned(env_id)
    env = gym.make(env_id, disable_env_checker=True, **settings)
    try:
        rounds = horizon_of(env) if num_rounds is None else num_rounds
        for spec in specs:
            try:
                agent = make_agent(spec.id, env, seed=0, **spec.settings)
            except ValueError as error:  # which of them the settings are of
                raise ValueError(f"agent {spec.label!r}: {error}") from error
            check_run(env, agent, rounds, None)
            # An error that would stop the first run is raised here, before a folder is made.
            if np.isnan(run(env, agent, 1, seed=0).regret[0]):
                raise ValueError(f"{env_id} must report 'regret' in the info of a step, got none: is regret_info off?")
    finally:
        env.close()
    return Experiment(
        env_id=env_id,
        env_settings=settings,
        agents=specs,
        seeds=checked_seeds("seeds", seeds),
        num_rounds=integer("num_rounds", rounds, 1),
        role=role,
        redraw_prior=redraw_prior,
        auto_once=auto_once,
    )


def run_all(tasks: Sequence[Task], conduct: Conduct, pool: Pool) -> list[Comparison]:
    """Execute every run that the tasks' folders do not hold yet; returns one comparison for each task, in their order.

    Raises
    ------
    ValueError
        If a setting is a function and runs go to other processes.
    OSError
        If a record cannot be written, or a worker dies; finished runs are kept.
    """
    for spec in (spec for task in tasks for spec in task.experiment.agents if not conduct.in_this_process):
        for name, value in spec.settings.items():
            if callable(value):
                raise ValueError(f"{name} must be no function where runs go to other processes, got {value!r:.200}")
    # Runs are ordered by seed, not by agent: a stopped experiment is then a comparison on fewer seeds.
    jobs = [
        (number, seed, index)
        for number, (experiment, _) in enumerate(tasks)
        for seed in experiment.seeds
        for index in range(len(experiment.agents))
    ]
    done = {job: record for job in jobs if (record := _finished(*tasks[job[0]], *job[1:])) is not None}
    for state in distinct(record.code for record in done.values() if record.code is not None):
        if state != (now := code_state()):
            text = f"resuming records of {state_text(state)} with {state_text(now)}: runs may differ"
            warnings.warn(text, stacklevel=2)
    left = [job for job in jobs if job not in done]
    what = "tuning" if tasks and all(task.experiment.role == "tuning" for task in tasks) else "runs"
    entries = [user_entries(e.env_id, [spec.id for spec in e.agents]) for e, _ in tasks]
    groups = grouped(left, [task.experiment for task in tasks], conduct.workers)
    first = [group.jobs[0][0] for group in groups]  # the number of each group's task
    asked = [(group, tasks[n].experiment, entries[n], conduct.progress) for group, n in zip(groups, first, strict=True)]
    with closing(pool(_run_group, asked)) as finished:
        found = (pair for pairs in finished for pair in pairs)
        for job, record in progress_bar(found, conduct.progress, len(jobs), what, initial=len(done)):
            experiment, out = tasks[job[0]]
            if out is not None:  # written here, not by the worker: a worker that outlives this process writes nothing
                records.write_record(out, experiment, experiment.agents[job[2]], record)
            done[job] = record
    return [_comparison(number, experiment, done) for number, (experiment, _) in enumerate(tasks)]


def _comparison(number: int, experiment: Experiment, done: Mapping[Job, RunRecord]) -> Comparison:
    runs = {
        spec.label: tuple(done[number, seed, index] for seed in experiment.seeds)
        for index, spec in enumerate(experiment.agents)
    }
    return Comparison(experiment, runs)


def _run_group(group: Group, experiment: Experiment, entries: Entries, progress: bool) -> list[tuple[Job, RunRecord]]:
    """The runs of a group, with their jobs; agents that choose their exploration show how far they are on request."""
    take_entries(entries)
    with counts_shown(progress):
        return _runs_of(group, experiment)


def _runs_of(group: Group, experiment: Experiment) -> list[tuple[Job, RunRecord]]:
    specs = [experiment.agents[index] for _, _, index in group.jobs]
    numbers = [seed for _, seed, _ in group.jobs]
    seeds = [run_seeds(seed, experiment.role) for seed in numbers]
    if not group.together:
        return [(group.jobs[0], _run_single(experiment, specs[0], numbers[0], seeds[0]))]
    priors: dict[str, Any] = {"prior_seeds": [each.prior for each in seeds]} if experiment.redraw_prior else {}
    envs = gym.make_vec(experiment.env_id, num_envs=len(seeds), **experiment.env_settings, **priors)
    try:
        problems = envs.unwrapped.problems  # type: ignore[attr-defined]
        agents = [
            make_agent(spec.id, problem, seed=each.agent, **spec.settings)
            for problem, spec, each in zip(problems, specs, seeds, strict=True)
        ]
        for agent, spec in zip(agents, specs, strict=True):
            adopt_choice(agent, spec, experiment)
        result = run(envs, agents, experiment.num_rounds, seed=[each.env for each in seeds])
    finally:
        envs.close()
    found = [_record(numbers[i], each, experiment, result.instance(i), agents[i]) for i, each in enumerate(seeds)]
    return list(zip(group.jobs, found, strict=True))


def _run_single(experiment: Experiment, spec: AgentSpec, seed: int, seeds: RunSeeds) -> RunRecord:
    settings = {**experiment.env_settings, **({"prior_seed": seeds.prior} if experiment.redraw_prior else {})}
    env = gym.make(experiment.env_id, disable_env_checker=True, **settings)
    try:
        agent = make_agent(spec.id, env, seed=seeds.agent, **spec.settings)
        adopt_choice(agent, spec, experiment)
        result = run(env, agent, experiment.num_rounds, seed=seeds.env)
    finally:
        env.close()
    return _record(seed, seeds, experiment, result, agent)


def adopt_choice(agent: Any, spec: AgentSpec, experiment: Experiment) -> None:
    """Where agents choose their exploration once, let an agent follow the choice made on the first seed's prior."""
    if not experiment.auto_once or spec.settings.get("exploration") != "auto":
        return
    first = run_seeds(experiment.seeds[0], experiment.role)
    settings = {**experiment.env_settings, **({"prior_seed": first.prior} if experiment.redraw_prior else {})}
    env = gym.make(experiment.env_id, disable_env_checker=True, **settings)
    try:
        chooser: Any = make_agent(spec.id, env, seed=first.agent, **spec.settings)
    finally:
        env.close()
    chooser.begin_run(experiment.num_rounds)
    found = chooser.choose_exploration()
    if found is None:
        raise ValueError("auto_once needs contexts= of the agent where the environment's problem has no context_sample")
    agent.adopt_tuning(found)


def _record(seed: int, seeds: RunSeeds, experiment: Experiment, result: RunResult, agent: Any) -> RunRecord:
    chosen = getattr(agent, "tuning", None)
    rounds = kept_rounds(experiment.num_rounds)
    return RunRecord(
        seed=seed,
        env_seed=seeds.env,
        agent_seed=seeds.agent,
        rounds=rounds,
        regret=result.regret[rounds - 1],
        total_reward=float(result.rewards.sum()),
        act_seconds=result.act_seconds,
        update_seconds=result.update_seconds,
        cpu_seconds=result.cpu_seconds,
        blas_threads=blas_threads(),
        exploration=None if chosen is None else str(chosen.choice),
        code=code_state(),  # of this process, which may be on another machine than the one that writes the record
    )


def _finished(experiment: Experiment, out: Path | None, seed: int, index: int) -> RunRecord | None:
    if out is None:
        return None
    try:
        return records.read_record(out, experiment, experiment.agents[index], seed)
    except FileNotFoundError:
        return None
    except ValueError as error:
        warnings.warn(f"running again: {error}", stacklevel=2)
        return None


def _check_env_settings(env_id: str, settings: Mapping[str, Any], redraw_prior: bool) -> None:
    parameters = inspect.signature(env_creator(env_id)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for name in settings:
        if name not in parameters:
            raise ValueError(f"env_settings must be among {sorted(parameters)} for {env_id}, got {name!r}")
    if redraw_prior and "prior_seed" not in parameters:
        raise ValueError(f"redraw_prior needs an environment with a prior_seed, {env_id} has none")
    if redraw_prior and (taken := {"prior", "prior_seed"} & {k for k, v in settings.items() if v is not None}):
        raise ValueError(f"redraw_prior must be off where env_settings say which prior, got {sorted(taken)} there")


def checked_seeds(name: str, seeds: Any) -> tuple[int, ...]:
    """Return ``seeds`` as different integers >= 0, 0..n-1 for a number n; else raise ValueError."""
    expected = "a number or different integers >= 0"
    if isinstance(known := plain(seeds), int):
        return tuple(range(integer(name, known, 1, most=_MOST_SEEDS)))
    chosen = tuple(integer(name, seed, 0) for seed in listed(name, seeds, expected))
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"{name} must be {expected}, got {seeds!r:.200}")
    return chosen
