"""Ids of environments and agents, as strings: nothing is imported before it is made."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    import numpy as np

    from dts_gym.agents import Agent
    from dts_gym.problem import BanditProblem

_ENVS = {
    "DiffusionBandit-v0": "dts_gym.envs.diffusion:DiffusionBanditEnv",
    "SharedDiffusionBandit-v0": "dts_gym.envs.shared:SharedDiffusionBanditEnv",
    "SyntheticBandit-v0": "dts_gym.envs.synthetic:SyntheticBanditEnv",
    "MovieLensBandit-v0": "dts_gym.envs.movielens:MovieLensBanditEnv",
}
_AGENTS: dict[str, str | type[Agent]] = {
    "dTS": "dts_gym.agents.diffusion:DiffusionTS",
    "dUCB": "dts_gym.agents.diffusion:DiffusionUCB",
    "LinTS": "dts_gym.agents.linear:LinTS",
    "LinUCB": "dts_gym.agents.linear:LinUCB",
    "HierTS": "dts_gym.agents.linear:HierTS",
    "MarginalLinTS": "dts_gym.agents.linear:MarginalLinTS",
    "JointTS": "dts_gym.agents.linear:JointTS",
    "GLM-TS": "dts_gym.agents.glm:GLMTS",
    "UCB-GLM": "dts_gym.agents.glm:UCBGLM",
    "TunedTS": "dts_gym.agents.posterior_sampling:TunedTS",
    "MixTS": "dts_gym.agents.posterior_sampling:MixTS",
    "LaplaceDPS": "dts_gym.agents.posterior_sampling:LaplaceDPS",
    "EpsilonGreedy": "dts_gym.agents.baselines:EpsilonGreedy",
    "Random": "dts_gym.agents.baselines:Random",
    "Oracle": "dts_gym.agents.baselines:Oracle",
}


def register_envs() -> None:
    """Put the package's environments into Gymnasium's registry."""
    for env_id, entry_point in _ENVS.items():
        if env_id not in gym.registry:
            module = entry_point.partition(":")[0]
            gym.register(id=env_id, entry_point=entry_point, vector_entry_point=f"{module}:make_vector")


def register_agent(agent_id: str, entry_point: str | type[Agent]) -> None:
    """Add an agent of your own to the registry.

    Parameters
    ----------
    agent_id : not taken yet.
    entry_point : the class, or ``"module:Class"``, imported when first made.

    Raises
    ------
    ValueError
        If the id is taken or the entry point is no ``"module:Class"``.
    """
    if agent_id in _AGENTS:
        raise ValueError(f"agent_id must be new, got {agent_id!r}, which is registered")
    if isinstance(entry_point, str) and entry_point.count(":") != 1:
        raise ValueError(f"entry_point must be a class or 'module:Class', got {entry_point!r}")
    _AGENTS[agent_id] = entry_point


def env_ids() -> list[str]:
    """Ids of the package's environments."""
    return list(_ENVS)


def agent_ids() -> list[str]:
    """Ids of the registered agents."""
    return list(_AGENTS)


def agent_class(agent_id: str) -> type[Agent]:
    """The class behind an id; ValueError for an unknown one."""
    if agent_id not in _AGENTS:
        raise ValueError(f"agent id must be one of {agent_ids()}, got {agent_id!r}")
    entry_point = _AGENTS[agent_id]
    if not isinstance(entry_point, str):
        return entry_point
    module, _, name = entry_point.partition(":")
    cls: type[Agent] = getattr(importlib.import_module(module), name)
    return cls


def agent_settings(agent_id: str) -> dict[str, inspect.Parameter]:
    """The settings that an agent takes besides the problem and the seed, by name."""
    parameters = inspect.signature(agent_class(agent_id)).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name not in ("problem", "env", "seed") and parameter.kind is parameter.KEYWORD_ONLY
    }


def make_agent(
    agent_id: str,
    env_or_problem: gym.Env[Any, Any] | BanditProblem,
    *,
    seed: int | np.random.SeedSequence | None = None,
    **settings: Any,
) -> Agent:
    """Make an agent by its id.

    Parameters
    ----------
    agent_id : as `agent_ids` lists.
    env_or_problem : an environment, whose ``unwrapped.problem`` is read, or the problem itself.
    seed : of all the agent's random choices.
    settings : the agent's own, ``exploration=0.5`` for one.

    Raises
    ------
    ValueError
        If the id is unknown, or a setting is unknown or out of range.

    Examples
    --------
    >>> import gymnasium as gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=10)
    >>> make_agent("LinTS", env, seed=0, exploration=0.5).exploration
    0.5
    """
    from dts_gym.problem import BanditProblem

    cls = agent_class(agent_id)
    known = agent_settings(agent_id)
    for name in settings:
        if name not in known:
            raise ValueError(f"settings of {agent_id} must be among {list(known)}, got {name!r}")
    if isinstance(env_or_problem, BanditProblem):
        return cls(env_or_problem, seed=seed, **settings)
    problem = getattr(getattr(env_or_problem, "unwrapped", None), "problem", None)
    if not isinstance(problem, BanditProblem):
        raise ValueError(f"env_or_problem must be a bandit environment or a BanditProblem, got {env_or_problem!r:.200}")
    return cls.from_env(env_or_problem, seed=seed, **settings)
