"""One agent on one instance of an environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from dts_gym.harness.callbacks import Callback, Round
from dts_gym.harness.masks import masks_of, of_step, play
from dts_gym.harness.round_log import RoundLog, round_log
from dts_gym.harness.run_record import Stopwatch
from dts_gym.harness.run_result import RunResult
from dts_gym.harness.teams import Team, team_of
from dts_gym.problem.problem import names_of, problem_of
from dts_gym.problem.wrappers import shown_sizes, wrapper_warning
from dts_gym.utils.arrays import Array
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.validation import boolean, integer


class Learner(Protocol):
    """The part of an agent that a run uses."""

    @property
    def num_updates(self) -> int:
        """Observations learned so far."""

    def act(self, context: Any) -> Any:
        """Pick an action."""

    def update(self, context: Any, action: Any, reward: Any) -> None:
        """Learn from a reward."""


def run(
    env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any],
    agent: Learner | Sequence[Learner],
    num_rounds: int,
    seed: int | Sequence[int] | None = None,
    progress: bool = False,
    callback: Callback | None = None,
    warm_start: bool = False,
    log: str | os.PathLike[str] | None = None,
) -> RunResult:
    """Let an agent learn on one instance of an environment; on a vector environment, an agent on each.

    Parameters
    ----------
    env : an environment of this package or any other; it is reset first. Regret is read from ``regret`` in the info of
        its steps. Where the info of a reset or a step has ``action_mask``, (K,) booleans or Gymnasium's int8, the agent
        picks its next action among those. Where the info of a step has ``matched`` False, as that of a log with another
        action, nothing is learned. An environment without a problem (``dts_gym.problem.problem_of``) is reset
        again wherever an episode ends, and the agent goes on learning: many bandits are written with episodes of one
        context. A vector environment's episodes must last the run.
    agent : a fresh agent, unless ``warm_start``. On a vector environment of N instances it is not played itself but
        makes N fresh agents by `Agent.spawn`, one for each instance; a list of N agents is played as it is. Where
        ``instance_seed`` pins all N to one instance, one agent plays the N contexts as a batch and learns all N
        rewards.
    num_rounds : number of rounds; at most the horizon where the environment has a problem, whose episodes are
        instances.
    seed : seed for the environment's reset, and so for instance, contexts and noise; the agent has its own seed.
        Instance i of a vector environment has the seed ``seed + i``, or the i-th of a list.
    progress : whether to show a bar on stderr.
    callback : called with a `dts_gym.harness.callbacks.Round` after every round; `dts_gym.harness.callbacks.Metrics`
        makes one that reports now and then. Not on a vector environment.
    warm_start : whether the agent may have learned before, for example from logged rounds of the same instance; it goes
        on from there. Where agents would be spawned, a warm start needs a list of agents.
    log : a new folder for the rounds (contexts, actions, rewards, the probabilities of the actions, masks), from which
        policies are judged and learned. Every 1000 rounds are a file: a killed run loses at most the last ones. The
        probability of a pick comes from `Agent.act_with_probability` and can cost some hundred rounds; agents that do
        not have it leave it out. Not on a vector environment.

    Raises
    ------
    ValueError
        If an agent has already learned (without ``warm_start``) or was made for other sizes, the number of agents is
        not that of instances, ``num_rounds`` is out of range, the environment reports regret in some rounds only, or
        it reports an action mask to an agent whose `act` accepts none.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=10, dim=3)
    >>> result = run(env, dts_gym.make_agent("dTS", env, seed=0), num_rounds=50, seed=0)
    >>> result  # doctest: +ELLIPSIS
    RunResult(rounds=50, regret=..., mean_reward=..., microseconds_per_round=...)
    >>> result.regret.shape, bool(np.all(np.diff(result.regret) >= 0))
    ((50,), True)
    >>> envs = gym.make_vec("DiffusionBandit-v0", num_envs=4, num_actions=10, dim=3)
    >>> run(envs, dts_gym.make_agent("dTS", envs, seed=0), num_rounds=50, seed=0).regret.shape
    (4, 50)
    """
    checked: Any = _checked_seed(env, seed)
    progress, warm_start = boolean("progress", progress), boolean("warm_start", warm_start)
    if isinstance(env, VectorEnv):
        for name, value in (("callback", callback), ("log", log)):
            if value is not None:
                raise ValueError(f"{name} must be left out on a vector environment, got {value!r:.200}")
        return _run_vector(env, agent, num_rounds, checked, progress, warm_start)
    if callback is not None and not callable(callback):
        raise ValueError(f"callback must be called with a Round, got {callback!r:.200}")
    if isinstance(agent, Sequence):
        raise ValueError(f"agent must be one agent on a single environment, got {agent!r:.200}")
    num_rounds = check_run(env, agent, num_rounds, checked, warm_start)
    with nullcontext() if log is None else round_log(log, env, agent) as rounds:
        begin_run(agent, num_rounds)
        return _play_single(env, agent, num_rounds, checked, progress, callback, rounds)


def _play_single(
    env: gym.Env[Any, Any],
    agent: Any,
    num_rounds: int,
    seed: Any,
    progress: bool,
    callback: Callback | None,
    rounds: RoundLog | None,
) -> RunResult:
    """Rounds of one instance; the agent has been checked."""
    is_one_instance = problem_of(env) is not None
    total, probability = 0.0, None
    regret, rewards, actions = np.empty(num_rounds), np.empty(num_rounds), np.empty(num_rounds, dtype=np.int64)
    watch = Stopwatch()
    context, info = env.reset(seed=seed)
    for t in progress_bar(range(num_rounds), progress, num_rounds, "rounds"):
        mask = info.get("action_mask")
        watch.start()
        if rounds is None:
            action = play(agent, context, mask)
        else:
            action, probability = rounds.play(agent, context, mask)
        watch.stop("act")
        following, reward, terminated, truncated, info = env.step(action)
        if info.get("matched", True):  # a log that has another action knows no reward
            watch.start()
            agent.update(context, action, reward)
            watch.stop("update")
            if rounds is not None:
                rounds.add(context, action, probability, reward, mask)
        total += float(info.get("regret", np.nan))
        regret[t], rewards[t], actions[t] = total, reward, action
        if callback is not None:
            callback(Round(t + 1, num_rounds, context, int(action), float(reward), total, info, env, agent))
        if (terminated or truncated) and t + 1 < num_rounds:
            if is_one_instance:
                raise ValueError(f"num_rounds must be at most the env's episode of {t + 1} rounds, got {num_rounds}")
            following, info = env.reset()
        context = following
    return RunResult(_all_or_none(regret), rewards, actions, *watch.times, names_of(env, agent))


def _checked_seed(env: Any, seed: Any) -> Any:
    """Return a seed, None, or on a vector environment a list of seeds; else raise ValueError."""
    if isinstance(env, VectorEnv) and isinstance(seed, Sequence | np.ndarray) and not isinstance(seed, str):
        if len(seed) != env.num_envs:
            raise ValueError(f"seed must be one for each of the {env.num_envs} instances, got {len(seed)}")
        return [integer("seed", each, 0) for each in seed]
    return None if seed is None else integer("seed", seed, 0)


def _all_or_none(regret: Array) -> Array:
    """Cumulative regrets (..., n), which must be known in all rounds or in none, where they are NaN."""
    if np.isnan(regret[..., -1]).any() and not np.isnan(regret).all():
        raise ValueError("env must report 'regret' in the info of every step or of none, got it in some")
    return regret


def _run_vector(
    env: VectorEnv[Any, Any, Any],
    agent: Learner | Sequence[Learner],
    num_rounds: int,
    seed: Any,
    progress: bool,
    warm_start: bool,
) -> RunResult:
    """`run` on a vector environment."""
    learner: Any
    if isinstance(agent, Sequence) and not isinstance(agent, str):
        learner = _checked_team(env, agent, num_rounds, seed, warm_start)
    else:
        check_run(env, agent, num_rounds, seed, warm_start)
        if getattr(env.unwrapped, "instance_seed", None) is not None:
            learner = nullcontext(agent)
            begin_run(agent, num_rounds * env.num_envs)
        elif warm_start:
            raise ValueError(f"warm_start needs a list of {env.num_envs} agents here: those of spawn are fresh")
        elif hasattr(agent, "spawn"):
            learner = _checked_team(env, agent.spawn(env.num_envs), num_rounds, seed, warm_start)
        else:
            raise ValueError(f"agent must be a list of {env.num_envs} agents, or have spawn, got {agent!r:.200}")
    with learner as playing:
        return _play_vector(env, playing, num_rounds, seed, progress)


def _play_vector(env: VectorEnv[Any, Any, Any], learner: Any, num_rounds: int, seed: Any, progress: bool) -> RunResult:
    """Rounds of all rows of a vector environment; the learner has been checked."""
    shape = env.num_envs, num_rounds
    regret, rewards, actions = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.int64)
    watch = Stopwatch()
    contexts, info = env.reset(seed=seed)
    for t in progress_bar(range(num_rounds), progress, num_rounds, "rounds"):
        watch.start()
        chosen = play(learner, contexts, masks_of(info, env.num_envs))
        watch.stop("act")
        following, paid, terminated, truncated, info = env.step(chosen)
        regret[:, t] = of_step(info, "regret", env.num_envs)
        watch.start()
        if "matched" in info or "matched" in info.get("final_info", {}):
            learner.update_some(contexts, chosen, paid, of_step(info, "matched", env.num_envs) == 1)
        else:
            learner.update(contexts, chosen, paid)
        watch.stop("update")
        rewards[:, t], actions[:, t] = paid, chosen
        if (terminated | truncated).any() and t + 1 < num_rounds:
            raise ValueError(f"num_rounds must be at most the env's episode of {t + 1} rounds, got {num_rounds}")
        contexts = following
    return RunResult(_all_or_none(np.cumsum(regret, axis=1)), rewards, actions, *watch.times, names_of(env, learner))


def _checked_team(
    env: VectorEnv[Any, Any, Any], agents: Sequence[Learner], num_rounds: Any, seed: Any, warm_start: bool
) -> Team:
    """Agents that play an instance each; every one is checked, then told of the run."""
    if len(agents) != env.num_envs or len({id(agent) for agent in agents}) < env.num_envs:
        raise ValueError(f"agent must be {env.num_envs} different agents, one an instance, got {len(agents)}")
    for agent in agents:
        check_run(env, agent, num_rounds, seed, warm_start)
    for agent in agents:
        begin_run(agent, num_rounds)
    # Agents on logs learn some of the rounds, which stacked ones cannot.
    return Team(agents) if env.metadata.get("reports_matches") else team_of(agents)


def check_run(env: Any, agent: Any, num_rounds: Any, seed: Any, warm_start: bool = False) -> int:
    if not isinstance(env, gym.Env | VectorEnv):
        raise ValueError(f"env must be a Gymnasium environment, got {env!r:.200}")
    _checked_seed(env, seed)
    if not all(hasattr(agent, name) for name in ("act", "update", "num_updates")):
        raise ValueError(f"agent must be one agent, as make_agent makes it, got {agent!r:.200}")
    if agent.num_updates > 0 and not warm_start:
        raise ValueError(
            f"agent must be a fresh one, got one with {agent.num_updates} updates: agent.reset(seed) clears it, "
            "warm_start=True goes on with it"
        )
    check_sizes(env, agent)
    count, horizon = integer("num_rounds", num_rounds, 1), horizon_of(env)
    if horizon is not None and count > horizon:
        raise ValueError(
            f"num_rounds must be an integer in 1..{horizon}, the env's horizon, got {count}: make the env with "
            f"horizon={count} (--env.horizon {count} on the command line)"
        )
    told = problem_of(env)
    if told is not None and getattr(agent, "problem", None) is told and hasattr(agent, "warn"):
        warning = wrapper_warning(env)
        if warning is not None:
            agent.warn(warning, stacklevel=3)
    return count


def begin_run(agent: Any, num_rewards: int) -> None:
    """Pass the number of rewards in the run to an agent that plans; one that chooses its exploration does so now."""
    if hasattr(agent, "begin_run"):
        agent.begin_run(num_rewards)
    if hasattr(agent, "choose_exploration"):  # not in its first `act`, whose time is counted
        agent.choose_exploration()


def check_sizes(env: Any, agent: Any) -> None:
    """ValueError if an agent was made for other actions or contexts than those of what has an environment's spaces."""
    offered = shown_sizes(env, "single_" if isinstance(env, VectorEnv) else "")
    problem = getattr(agent, "problem", None)
    taken = shown_sizes(agent) if problem is None else (problem.num_actions, problem.context_shape)
    if taken[1] is not None and taken != offered:
        raise ValueError(
            f"agent must be made for this env's {offered[0]} actions and contexts {offered[1]}, got one for "
            f"{taken[0]} actions and contexts {taken[1]}"
        )


def horizon_of(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> int | None:
    problem = problem_of(env)
    return None if problem is None else problem.horizon
