"""Wrappers between an agent and the environment whose problem it is made for: what they change, and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers
from gymnasium.spaces import Box
from gymnasium.vector import (
    VectorActionWrapper,
    VectorEnv,
    VectorObservationWrapper,
    VectorRewardWrapper,
    VectorWrapper,
)
from gymnasium.wrappers import vector as vector_wrappers

from dts_gym.problem.problem import BanditProblem, problem_of

# What changes observations, rewards or actions, and may leave the spaces as they are.
_CHANGING = (
    gym.ObservationWrapper,
    gym.RewardWrapper,
    gym.ActionWrapper,
    wrappers.NormalizeReward,
    *([wrappers.RepeatAction] if hasattr(wrappers, "RepeatAction") else []),  # older versions have none
    wrappers.MaxAndSkipObservation,
    wrappers.FrameStackObservation,
    VectorObservationWrapper,
    VectorRewardWrapper,
    VectorActionWrapper,
    vector_wrappers.NormalizeReward,
)
_HARMLESS = (wrappers.DtypeObservation, vector_wrappers.DtypeObservation)
_OWN_PROBLEM = "problem_from_spaces(env, prior=..., noise_std=...), of dts_gym.problem.spaces"


def changing_wrappers(env: Any) -> list[str]:
    """Names of the wrappers, from the outside in, by which rounds are no longer those of the environment's problem.

    Gymnasium's wrappers are known by their class, others are found where a space differs from the one inside.
    """
    return [
        type(layer).__name__
        for layer in _layers(env)
        if not isinstance(layer, _HARMLESS) and (isinstance(layer, _CHANGING) or _changes_spaces(layer))
    ]


def wrapper_warning(env: Any) -> str | None:
    """What to tell the maker of an agent for this environment's problem; None where no wrapper changes its rounds.

    Examples
    --------
    >>> env = gym.make("DiffusionBandit-v0", num_actions=10)
    >>> wrapper_warning(env) is None
    True
    >>> wrapper_warning(wrappers.TransformReward(env, lambda r: r / 100)).partition(":")[0]
    'env has TransformReward around it, which the agent knows nothing of'
    """
    names = changing_wrappers(env) if problem_of(env) is not None else []
    if not names:
        return None
    return (
        f"env has {', '.join(names)} around it, which the agent knows nothing of: it is made for the problem of the "
        "environment inside, whose prior and rewards need not be those of the wrapped one. Leave the wrapper out, or "
        f"make the agent for a problem that describes the wrapped environment: {_OWN_PROBLEM}, or a BanditProblem"
    )


def warn_of_wrappers(env: Any, stacklevel: int) -> None:
    """Give `wrapper_warning`, if there is one, where no agent gives it once; ``stacklevel`` is above the caller."""
    warning = wrapper_warning(env)
    if warning is not None:
        warnings.warn(warning, stacklevel=stacklevel + 1)


def check_shown(env: Any, problem: BanditProblem) -> None:
    """ValueError if an environment does not show its problem's number of actions and shape of contexts."""
    single = "single_" if isinstance(env, VectorEnv) else ""
    shown, told = shown_sizes(env, single), (problem.num_actions, problem.context_shape)
    if shown == told or not hasattr(env, f"{single}observation_space"):
        return
    names = ", ".join(changing_wrappers(env))
    through = f" through {names}" if names else ""
    raise ValueError(
        f"env must show the {told[0]} actions and contexts {told[1]} of its problem, got {shown[0]} actions and "
        f"observations {shown[1]}{through}: leave the wrapper out, or make the agent for the problem that the wrapped "
        f"environment's spaces make, {_OWN_PROBLEM}"
    )


def shown_sizes(owner: Any, prefix: str = "") -> tuple[Any, Any]:
    """Number of actions and shape of contexts by an owner's spaces, which a trained policy has too; None: not told."""
    actions, contexts = (getattr(owner, f"{prefix}{name}_space", None) for name in ("action", "observation"))
    return getattr(actions, "n", None), getattr(contexts, "shape", None)


def _layers(env: Any) -> Iterator[Any]:
    """The wrappers of an environment, from the outside in; of a vector of environments also those of the first."""
    while isinstance(env, gym.Wrapper | VectorWrapper):
        yield env
        env = env.env
    if isinstance(env, VectorEnv):
        for first in getattr(env, "envs", [])[:1]:
            yield from _layers(first)


def _changes_spaces(layer: gym.Wrapper[Any, Any, Any, Any] | VectorWrapper) -> bool:
    single = "single_" if isinstance(layer, VectorWrapper) else ""
    names = f"{single}observation_space", f"{single}action_space"
    return any(_differ(getattr(layer, name), getattr(layer.env, name)) for name in names)


def _differ(outer: gym.Space[Any], inner: gym.Space[Any]) -> bool:
    if outer is inner or outer == inner:
        return False
    if isinstance(outer, Box) and isinstance(inner, Box) and outer.shape == inner.shape:  # another precision is none
        return not (np.array_equal(outer.low, inner.low) and np.array_equal(outer.high, inner.high))
    return True
