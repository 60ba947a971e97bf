"""Agents on environments: one run, and many runs on paired instances."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import load_env_creator

from dts_gym import records
from dts_gym.arrays import Array, IntArray, integer
from dts_gym.registry import make_agent
from dts_gym.report import AgentSpec, Comparison, Experiment, Role, RunRecord, kept_rounds, parse_agent
from dts_gym.seeding import seed_sequence

_ROLE_KEYS: dict[Role, int] = {"report": 51, "tuning": 52}  # fixed for ever, as the keys of `dts_gym.seeding`


class Learner(Protocol):
    """What a run needs of an agent."""

    @property
    def num_updates(self) -> int:
        """Observations learned so far."""

    def act(self, context: Any) -> Any:
        """Pick an action."""

    def update(self, context: Any, action: Any, reward: Any) -> None:
        """Learn from a reward."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run of n rounds.

    Parameters
    ----------
    regret : (n,) cumulative regret after every round.
    rewards : (n,)
    actions : (n,) int64
    act_seconds, update_seconds : time spent in the agent.
    """

    regret: Array
    rewards: Array
    actions: IntArray
    act_seconds: float
    update_seconds: float

    @property
    def microseconds_per_round(self) -> float:
        """Time of the agent in a round, choosing and learning."""
        return 1e6 * (self.act_seconds + self.update_seconds) / len(self.regret)


def run(
    env: gym.Env[Any, Any], agent: Learner, num_rounds: int, seed: int | None = None, progress: bool = False
) -> RunResult:
    """Let an agent learn on one instance of an environment.

    Parameters
    ----------
    env : with ``regret`` in the info of a step; it is reset first.
    agent : a fresh one.
    num_rounds : 1..horizon.
    seed : of the environment's reset, so of instance, contexts and noise; the agent has its own.
    progress : whether to show a bar on stderr.

    Raises
    ------
    ValueError
        If the agent has already learned or was made for other sizes, ``num_rounds`` is out of range, the
        environment is a vector environment or keeps its regret to itself.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=10, dim=3)
    >>> result = run(env, dts_gym.make_agent("dTS", env, seed=0), num_rounds=50, seed=0)
    >>> result.regret.shape, bool(np.all(np.diff(result.regret) >= 0))
    ((50,), True)
    """
    num_rounds = _check_run(env, agent, num_rounds, seed)
    regret, rewards, actions = np.empty(num_rounds), np.empty(num_rounds), np.empty(num_rounds, dtype=np.int64)
    act_seconds = update_seconds = 0.0
    context, _ = env.reset(seed=seed)
    for t in _bar(range(num_rounds), progress, num_rounds, "rounds"):
        start = perf_counter()
        action = agent.act(context)
        act_seconds += perf_counter() - start
        following, reward, terminated, truncated, info = env.step(action)
        if "regret" not in info:
            raise ValueError("env must give 'regret' in the info of a step, got none: is it switched off?")
        start = perf_counter()
        agent.update(context, action, reward)
        update_seconds += perf_counter() - start
        regret[t], rewards[t], actions[t] = info["regret"], reward, action
        if (terminated or truncated) and t + 1 < num_rounds:
            raise ValueError(f"num_rounds must be at most the env's episode of {t + 1} rounds, got {num_rounds}")
        context = following
    return RunResult(np.cumsum(regret), rewards, actions, act_seconds, update_seconds)


class RunSeeds(NamedTuple):
    """Seeds of one run: of the environment's reset, of the agent, and of the prior where it is redrawn."""

    env: int
    agent: int
    prior: int


def run_seeds(seed: int, role: Role = "report") -> RunSeeds:
    """The seeds of run ``seed``, the same for every agent.

    Reported runs have even seeds and tuning runs odd ones: no agent is reported on what it was tuned on.

    Examples
    --------
    >>> run_seeds(0).env % 2, run_seeds(0, "tuning").env % 2
    (0, 1)
    """
    root = np.random.SeedSequence(seed, spawn_key=(_ROLE_KEYS[role],))
    odd = int(role == "tuning")
    draws = (int(seed_sequence(root, key).generate_state(1, np.uint64)[0]) for key in ("instance", "agent", "prior"))
    return RunSeeds(*((draw >> 2) * 2 + odd for draw in draws))


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
    grid: Sequence[float] | None = None,
    tuning_seeds: int | Sequence[int] = 5,
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
        from dts_gym.tuning import GRID, tune_and_run  # here, as tuning stands on this module

        if experiment.env_settings.get("instance_seed") is not None:
            raise ValueError("tune must be off where env_settings pin the instance: it would be tuned on and reported")
        tried = checked_seeds("tuning_seeds", tuning_seeds)
        return tune_and_run(
            experiment, GRID if grid is None else grid, tried, folder, resume, num_workers=workers, progress=progress
        )
    if folder is not None:
        records.prepare_folder(folder, experiment, resume=resume)
    return run_all(experiment, folder, num_workers=workers, progress=progress)


def checked_folder(out: str | os.PathLike[str] | None, resume: bool) -> Path | None:
    """``out`` as a path; ValueError if there is nothing to resume."""
    if out is None and resume:
        raise ValueError("out must be the folder of the records to resume, got None")
    return None if out is None else Path(out)


def env_creator(env_id: str) -> Any:
    """The class or function behind an environment's id; Gymnasium's error for an unknown one."""
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    entry_point = gym.spec(name).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def make_experiment(
    env_id: str,
    agents: Sequence[str | AgentSpec],
    seeds: int | Sequence[int],
    num_rounds: int | None,
    env_settings: Mapping[str, Any] | None,
    role: Role,
    redraw_prior: bool,
) -> Experiment:
    """A checked experiment: every agent has played one round of its environment.

    Raises
    ------
    ValueError
        As `compare`.
    """
    if isinstance(agents, str):
        raise ValueError(f"agents must be a list of ids, got {agents!r}")
    specs = tuple(agent if isinstance(agent, AgentSpec) else parse_agent(agent) for agent in agents)
    labels = [spec.label for spec in specs]
    if not specs or len(set(labels)) < len(labels):
        raise ValueError(f"agents must be at least one, with different labels, got {labels}")
    settings = dict(env_settings or {})
    _check_env_settings(env_id, settings, redraw_prior)
    env = gym.make(env_id, disable_env_checker=True, **settings)
    try:
        rounds = _horizon(env) if num_rounds is None else num_rounds
        for spec in specs:
            _check_run(env, agent := make_agent(spec.id, env, seed=0, **spec.settings), rounds, None)
            run(env, agent, 1, seed=0)  # what would stop the first run stops here, before a folder is made
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
    )


def run_all(experiment: Experiment, out: Path | None, *, num_workers: int = 1, progress: bool = False) -> Comparison:
    """Do every run that ``out``, a folder made ready for the experiment, does not hold yet."""
    # By seed, not by agent: what a stopped experiment holds is then a comparison on fewer seeds.
    jobs = [(seed, index) for seed in experiment.seeds for index in range(len(experiment.agents))]
    done = {job: record for job in jobs if (record := _finished(out, experiment, *job)) is not None}
    left = [job for job in jobs if job not in done]
    finished = _results(experiment, out, left, num_workers)
    what = "runs" if experiment.role == "report" else "tuning"
    for job, record in _bar(finished, progress, len(jobs), what, initial=len(done)):
        done[job] = record
    runs = {
        spec.label: tuple(done[seed, index] for seed in experiment.seeds)
        for index, spec in enumerate(experiment.agents)
    }
    return Comparison(experiment, runs)


_Job = tuple[int, int]  # seed, index of the agent


def _results(
    experiment: Experiment, out: Path | None, jobs: Sequence[_Job], num_workers: int
) -> Iterator[tuple[_Job, RunRecord]]:
    if num_workers == 1 or len(jobs) < 2:
        yield from (_run_job(experiment, out, job) for job in jobs)
        return
    import joblib  # type: ignore[import-untyped]

    # Ctrl-C reaches all processes of a terminal: it is for this one to stop the others.
    quiet = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_IGN)}
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1, **quiet):
        pool = joblib.Parallel(n_jobs=num_workers, return_as="generator_unordered", batch_size=1)
        yield from pool(joblib.delayed(_run_job)(experiment, out, job) for job in jobs)


def _run_job(experiment: Experiment, out: Path | None, job: _Job) -> tuple[_Job, RunRecord]:
    seed, index = job
    spec, seeds = experiment.agents[index], run_seeds(seed, experiment.role)
    settings = {**experiment.env_settings, **({"prior_seed": seeds.prior} if experiment.redraw_prior else {})}
    env = gym.make(experiment.env_id, disable_env_checker=True, **settings)
    try:
        agent = make_agent(spec.id, env, seed=seeds.agent, **spec.settings)
        result = run(env, agent, experiment.num_rounds, seed=seeds.env)
    finally:
        env.close()
    rounds = kept_rounds(experiment.num_rounds)
    record = RunRecord(
        seed=seed,
        env_seed=seeds.env,
        agent_seed=seeds.agent,
        rounds=rounds,
        regret=result.regret[rounds - 1],
        total_reward=float(result.rewards.sum()),
        act_seconds=result.act_seconds,
        update_seconds=result.update_seconds,
    )
    if out is not None:
        records.write_record(out, experiment, spec, record)
    return job, record


def _finished(out: Path | None, experiment: Experiment, seed: int, index: int) -> RunRecord | None:
    if out is None:
        return None
    try:
        return records.read_record(out, experiment, experiment.agents[index], seed)
    except FileNotFoundError:
        return None
    except ValueError as error:
        warnings.warn(f"running again: {error}", stacklevel=2)
        return None


def _check_run(env: Any, agent: Any, num_rounds: Any, seed: Any) -> int:
    if isinstance(env, gym.vector.VectorEnv):
        raise ValueError(f"env must be a single environment, got a vector environment of {env.num_envs}")
    if not isinstance(env, gym.Env):
        raise ValueError(f"env must be a Gymnasium environment, got {env!r:.200}")
    if seed is not None:
        integer("seed", seed, 0)
    if agent.num_updates > 0:
        raise ValueError(
            f"agent must be a fresh one, got one with {agent.num_updates} updates: agent.reset(seed) clears it"
        )
    problem = getattr(agent, "problem", None)
    offered = (getattr(env.action_space, "n", None), env.observation_space.shape)
    if problem is not None and (problem.num_actions, problem.context_shape) != offered:
        raise ValueError(
            f"agent must be made for this env's {offered[0]} actions and contexts {offered[1]}, got one for "
            f"{problem.num_actions} actions and contexts {problem.context_shape}"
        )
    return integer("num_rounds", num_rounds, 1, _horizon(env))


def _horizon(env: gym.Env[Any, Any]) -> int | None:
    horizon = getattr(getattr(env.unwrapped, "problem", None), "horizon", None)
    return None if horizon is None else int(horizon)


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
    """``seeds`` as different integers >= 0, 0..n-1 for a number n; or ValueError."""
    if isinstance(seeds, int | np.integer):
        return tuple(range(integer(name, seeds, 1)))
    listed = tuple(integer(name, seed, 0) for seed in seeds)
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"{name} must be a number or different integers >= 0, got {seeds!r:.200}")
    return listed


def _bar(items: Iterable[Any], progress: bool, total: int, what: str, initial: int = 0) -> Iterable[Any]:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, initial=initial, unit="", dynamic_ncols=True)
