"""Ids of environments and agents, as strings: a class is imported when it is first made."""

from __future__ import annotations

import importlib
import inspect
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import gymnasium as gym
from gymnasium.envs.registration import find_highest_version, get_env_id, load_env_creator, parse_env_id

from dts_gym.utils.extras import OPTIONAL_AGENTS

if TYPE_CHECKING:
    import numpy as np

    from dts_gym.agents import Agent, ChainAgent, ModelAgent, PosteriorAgent
    from dts_gym.priors.prior import Prior
    from dts_gym.problem.problem import BanditProblem
    from dts_gym.problem.rewards import RewardModel

_ENVS = {
    "DiffusionBandit-v0": "dts_gym.envs.diffusion:DiffusionBanditEnv",
    "SharedDiffusionBandit-v0": "dts_gym.envs.shared:SharedDiffusionBanditEnv",
    "SyntheticBandit-v0": "dts_gym.envs.synthetic:SyntheticBanditEnv",
    "CatalogueBandit-v0": "dts_gym.envs.catalogue:CatalogueBanditEnv",
    "MovieLensBandit-v0": "dts_gym.envs.movielens:MovieLensBanditEnv",
    "LoggedBandit-v0": "dts_gym.envs.logged:LoggedBanditEnv",
    "ClassificationBandit-v0": "dts_gym.envs.classification:ClassificationBanditEnv",
}
_AGENTS: dict[str, str | type[Agent]] = {
    "dTS": "dts_gym.agents.diffusion:DiffusionTS",
    "dUCB": "dts_gym.agents.diffusion:DiffusionUCB",
    "IDS": "dts_gym.agents.information:DiffusionIDS",
    "Greedy": "dts_gym.agents.information:DiffusionGreedy",
    "LinTS": "dts_gym.agents.linear:LinTS",
    "LinUCB": "dts_gym.agents.linear:LinUCB",
    "HierTS": "dts_gym.agents.linear:HierTS",
    "MarginalLinTS": "dts_gym.agents.linear:MarginalLinTS",
    "JointTS": "dts_gym.agents.linear:JointTS",
    "meTS": "dts_gym.agents.mixed_effects:MixedEffectTS",
    "GLM-TS": "dts_gym.agents.glm:GLMTS",
    "UCB-GLM": "dts_gym.agents.glm:UCBGLM",
    "TunedTS": "dts_gym.agents.learned_priors:TunedTS",
    "TunedUCB": "dts_gym.agents.learned_priors:TunedUCB",
    "MixTS": "dts_gym.agents.learned_priors:MixTS",
    "MixUCB": "dts_gym.agents.learned_priors:MixUCB",
    "LaplaceDPS": "dts_gym.agents.learned_priors:LaplaceDPS",
    "EpsilonGreedy": "dts_gym.agents.baselines:EpsilonGreedy",
    "Random": "dts_gym.agents.baselines:Random",
    "Oracle": "dts_gym.agents.baselines:Oracle",
}

_BUILT_IN = frozenset(_AGENTS)  # the package's own agents


def register_envs() -> None:
    """Put the package's environments into Gymnasium's registry."""
    for env_id, entry_point in _ENVS.items():
        if env_id not in gym.registry:
            gym.register(env_id, entry_point, vector_entry_point=f"{entry_point.partition(':')[0]}:make_vector")


def register_agent(agent_id: str, entry_point: str | type[Agent]) -> None:
    """Add an agent of your own to the registry.

    Parameters
    ----------
    agent_id : an id that is not registered yet, without a colon.
    entry_point : the class, or ``"module:Class"``, imported when first made.

    Raises
    ------
    ValueError
        If the id is registered or has a colon, or the entry point is neither ``"module:Class"`` nor an agent class.

    Notes
    -----
    A class of the same name and module replaces the one registered before, as when a notebook's cell is run again.
    """
    if not isinstance(agent_id, str) or not agent_id or ":" in agent_id:
        raise ValueError(f"agent_id must be a name without a colon, which parts a module from an id, got {agent_id!r}")
    if not isinstance(entry_point, type) and not (isinstance(entry_point, str) and entry_point.count(":") == 1):
        raise ValueError(f"entry_point must be a class or 'module:Class', got {entry_point!r}")
    if isinstance(entry_point, type):
        lacking = {name for name in ("act", "update") if not hasattr(entry_point, name)}
        lacking |= set(getattr(entry_point, "__abstractmethods__", ()))
        if lacking:
            raise ValueError(f"entry_point must be a class that defines {sorted(lacking)}, got {entry_point!r}")
    if agent_id in _AGENTS and place_of(_AGENTS[agent_id]) != place_of(entry_point):
        raise ValueError(f"agent_id must be new, got {agent_id!r}, which is registered")
    _AGENTS[agent_id] = entry_point


def own_entry(agent_id: str) -> str | type[Agent] | None:
    """The entry point of an agent that a user registered; None for other ids."""
    return None if is_built_in(agent_id) else _AGENTS.get(agent_id)


def place_of(entry_point: str | type) -> str:
    """Where an entry point's class is, ``"module:Class"``."""
    return entry_point if isinstance(entry_point, str) else f"{entry_point.__module__}:{entry_point.__qualname__}"


def is_built_in(name: str) -> bool:
    """Whether an id belongs to the package."""
    return name in _ENVS or name in _BUILT_IN or name in OPTIONAL_AGENTS


def env_ids() -> list[str]:
    """Ids of the package's environments."""
    return list(_ENVS)


def agent_ids() -> list[str]:
    """Ids of the registered agents; PPO, DQN and A2C, which an extra brings, are not among them."""
    return list(_AGENTS)


def versioned(env_id: str) -> str:
    """An environment's id with its highest version where it names none, as ``gym.make`` reads it; else itself."""
    module, colon, name = env_id.rpartition(":")
    if module:
        _import(module)
    namespace, base, version = parse_env_id(name)
    if version is None and name not in gym.registry:
        version = find_highest_version(namespace, base)
    return f"{module}{colon}{get_env_id(namespace, base, version)}"


def _import(module: str) -> None:
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"an id must begin with the name of a module or have no colon, got the module {module!r}")
    importlib.import_module(module)


def env_creator(env_id: str) -> Any:
    """The class or function that an environment's id names; Gymnasium's error for an unknown id."""
    if not isinstance(env_id, str):
        raise ValueError(f"env_id must be the id of an environment, got {env_id!r:.200}")
    entry_point = gym.spec(versioned(env_id).rpartition(":")[2]).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def agent_class(agent_id: str) -> type[Agent]:
    """The class that an id names; ``"module:Id"`` imports the module first, as Gymnasium does for environments.

    Raises
    ------
    ValueError
        If the id is unknown.
    ModuleNotFoundError
        If there is no such module.
    """
    module, colon, name = agent_id.rpartition(":") if isinstance(agent_id, str) else ("", "", repr(agent_id))
    if colon:
        _import(module)
    entry_point = _AGENTS.get(name) or OPTIONAL_AGENTS.get(name, ("",))[0]
    if not entry_point:
        from dts_gym.utils.validation import did_you_mean

        raise ValueError(f"agent id must be one of {agent_ids()}, got {agent_id!r}{did_you_mean(name, agent_ids())}")
    if not isinstance(entry_point, str):
        return entry_point
    module, _, name = entry_point.partition(":")
    cls: type[Agent] = getattr(importlib.import_module(module), name)
    return cls


def agent_id_of(cls: type) -> str:
    """The id under which a class is registered; the class's own name if it is not."""
    return next((name for name, entry in _AGENTS.items() if place_of(entry) == place_of(cls)), cls.__name__)


def agent_settings(agent_id: str) -> dict[str, inspect.Parameter]:
    """The settings that an agent accepts besides the problem and the seed, by name."""
    parameters = inspect.signature(agent_class(agent_id)).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if name not in ("problem", "env", "seed")
        and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    }


@overload
def make_agent(
    agent_id: Literal["dTS", "dUCB", "IDS", "Greedy"],
    env_or_problem: Any,
    *,
    seed: int | np.random.SeedSequence | None = None,
    prior: Prior | str | os.PathLike[str] | None = None,
    reward: RewardModel | str | None = None,
    **settings: Any,
) -> ChainAgent: ...
@overload
def make_agent(
    agent_id: Literal[
        "LinTS",
        "LinUCB",
        "HierTS",
        "MarginalLinTS",
        "JointTS",
        "meTS",
        "GLM-TS",
        "UCB-GLM",
        "TunedTS",
        "TunedUCB",
        "MixTS",
        "MixUCB",
        "LaplaceDPS",
    ],
    env_or_problem: Any,
    *,
    seed: int | np.random.SeedSequence | None = None,
    prior: Prior | str | os.PathLike[str] | None = None,
    reward: RewardModel | str | None = None,
    **settings: Any,
) -> PosteriorAgent[Any]: ...
@overload
def make_agent(
    agent_id: Literal["EpsilonGreedy"],
    env_or_problem: Any,
    *,
    seed: int | np.random.SeedSequence | None = None,
    prior: Prior | str | os.PathLike[str] | None = None,
    reward: RewardModel | str | None = None,
    **settings: Any,
) -> ModelAgent[Any]: ...
@overload
def make_agent(
    agent_id: str,
    env_or_problem: Any,
    *,
    seed: int | np.random.SeedSequence | None = None,
    prior: Prior | str | os.PathLike[str] | None = None,
    reward: RewardModel | str | None = None,
    **settings: Any,
) -> Agent: ...
def make_agent(
    agent_id: str,
    env_or_problem: Any,
    *,
    seed: int | np.random.SeedSequence | None = None,
    prior: Prior | str | os.PathLike[str] | None = None,
    reward: RewardModel | str | None = None,
    **settings: Any,
) -> Agent:
    """Make an agent by its id, for an environment of this package or any other.

    Parameters
    ----------
    agent_id : as `agent_ids` lists; ``"module:Id"`` imports the module, which registers the id, first.
    env_or_problem : an environment, whose ``unwrapped.problem`` is read, or the problem itself. For an environment
        without a problem, with ``Discrete`` actions and ``Box`` observations, the problem is made from these spaces,
        see `dts_gym.problem.spaces.problem_from_spaces`, and from ``prior``, ``reward`` and ``noise_std``.
    seed : seed for all of the agent's random draws.
    prior : prior of the parameters, or a file of one, for agents that need a prior in an environment without a problem.
    reward : "gaussian", "bernoulli" or "poisson", the distribution of the rewards of an environment without a problem.
    settings : the agent's own settings, for example ``exploration=0.5``. In an environment without a problem,
        ``noise_std=`` alone means that rewards are Gaussian.

    Raises
    ------
    ValueError
        If the id is unknown, a setting is unknown or out of range, something that the agent needs is not told, or a
        wrapper shows other numbers of actions or contexts than the environment's problem has.

    Warns
    -----
    UserWarning
        If a wrapper changes observations, rewards or actions, for the agent is made for the problem of the environment
        inside; see ``dts_gym.problem.wrappers``.

    Examples
    --------
    >>> import gymnasium as gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=10)
    >>> make_agent("LinTS", env, seed=0, exploration=0.5)
    LinTS(exploration=0.5, num_actions=10, dim=5, num_updates=0)
    >>> make_agent("LinTS", gym.make("CartPole-v1"), seed=0, noise_std=1.0).problem.num_actions
    2
    """
    from dts_gym.problem.problem import BanditProblem, problem_of
    from dts_gym.problem.wrappers import check_shown, wrapper_warning
    from dts_gym.utils.validation import did_you_mean

    cls = agent_class(agent_id)
    known = agent_settings(agent_id)
    is_problem = isinstance(env_or_problem, BanditProblem)
    problem: Any = env_or_problem if is_problem else problem_of(env_or_problem)
    needs_problem = "problem" in inspect.signature(cls).parameters  # a policy trained elsewhere accepts none
    told: dict[str, Any] = {"prior": prior, "reward": reward}
    if problem is None and needs_problem:
        if reward is None or str(reward) == "gaussian":  # noise_std then describes the environment, not the agent
            told["noise_std"] = settings.get("noise_std")
            settings = {name: value for name, value in settings.items() if name != "noise_std"}
        problem = _problem_from_spaces(env_or_problem, told)
    else:
        for name, value in told.items():
            if value is not None:
                raise ValueError(f"{name} must be left out where the environment has a problem, got {value!r:.200}")
    for one in settings:
        if one not in known:
            raise ValueError(f"settings of {agent_id} must be among {[*known]}, got {one!r}{did_you_mean(one, known)}")
    warning, told_problem = None, None if is_problem else problem_of(env_or_problem)
    if needs_problem and told_problem is not None:
        check_shown(env_or_problem, told_problem)
        warning = wrapper_warning(env_or_problem)
    own = getattr(getattr(env_or_problem, "unwrapped", None), "problem", None)
    if not needs_problem or (not is_problem and own is problem):
        agent = cls.from_env(env_or_problem, seed=seed, **settings)
    else:
        agent = cls(problem, seed=seed, **settings)
    if warning is not None and hasattr(agent, "warn"):
        agent.warn(warning, stacklevel=2)
    elif warning is not None:  # a class of the user's own
        warnings.warn(warning, stacklevel=2)
    return agent


def _problem_from_spaces(env: Any, told: Mapping[str, Any]) -> BanditProblem:
    """The problem of an environment that describes none, made from its spaces and the caller's arguments."""
    if not (hasattr(env, "action_space") and hasattr(env, "observation_space")):
        raise ValueError(f"env_or_problem must be an environment or a BanditProblem, got {env!r:.200}")
    from dts_gym.problem.spaces import problem_from_spaces

    return problem_from_spaces(env, **told)
