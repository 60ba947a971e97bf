"""One agent on one instance of an environment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from dts_gym.arrays import Array, IntArray, integer


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
    num_rounds = check_run(env, agent, num_rounds, seed)
    regret, rewards, actions = np.empty(num_rounds), np.empty(num_rounds), np.empty(num_rounds, dtype=np.int64)
    act_seconds = update_seconds = 0.0
    context, _ = env.reset(seed=seed)
    for t in progress_bar(range(num_rounds), progress, num_rounds, "rounds"):
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


def check_run(env: Any, agent: Any, num_rounds: Any, seed: Any) -> int:
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
    return integer("num_rounds", num_rounds, 1, horizon_of(env))


def horizon_of(env: gym.Env[Any, Any]) -> int | None:
    horizon = getattr(getattr(env.unwrapped, "problem", None), "horizon", None)
    return None if horizon is None else int(horizon)


def progress_bar(items: Iterable[Any], progress: bool, total: int, what: str, initial: int = 0) -> Iterable[Any]:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, initial=initial, unit="", dynamic_ncols=True)
