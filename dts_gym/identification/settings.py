"""The paper's problems as data: independent actions, one shared parameter, effects that actions share, and ratings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import did_you_mean, integer


class Posed(NamedTuple):
    """A problem at one context, and the truth where data have it.

    Attributes
    ----------
    problem : the problem.
    context : the context of every round: (d,), or (K, d) features where actions share a parameter.
    instance : the true parameters; None: they are drawn from the problem's prior.
    """

    problem: BanditProblem
    context: Array
    instance: BanditInstance | None = None


def mab(seed: int, num_actions: int = 10, noise_std: float = 1.0) -> Posed:
    """Independent actions of prior means ``linspace(0, 1)`` and deviations ``linspace(.1, .5)``.

    The problem is the same for every seed.
    """
    K = integer("num_actions", num_actions, 1)
    std = np.linspace(0.1, 0.5, K)
    means = np.linspace(0.0, 1.0, K)[:, None]
    prior = MixedEffectPrior(np.zeros((K, 0)), np.zeros((0, 0)), std[:, None, None] ** 2, action_means=means)
    return Posed(BanditProblem(K, 1, prior, GaussianReward(noise_std)), np.ones(1))


def linear(seed: int, num_actions: int = 30, dim: int = 4, noise_std: float = 1.0) -> Posed:
    """One parameter vector ``N(0, I)`` for all actions; features are normal numbers drawn under ``seed``."""
    K, d = integer("num_actions", num_actions, 1), integer("dim", dim, 1)
    features = stream(seed, "contexts").standard_normal((K, d))
    prior = LinearDiffusionPrior([np.eye(d)], [np.eye(d) / 2, np.eye(d) / 2])
    return Posed(BanditProblem(K, d, prior, GaussianReward(noise_std), features="shared"), features)


def hierarchical(seed: int, num_actions: int = 60, num_effects: int = 10, noise_std: float = 1.0) -> Posed:
    """Effects that actions share by mixing weights, which are uniform numbers over their sum, drawn under ``seed``.

    The effects are ``N(linspace(0, 2), diag(linspace(.1^2, .5^2)))``, the actions' own deviations
    ``linspace(.1, .5)``.
    """
    K, J = integer("num_actions", num_actions, 1), integer("num_effects", num_effects, 1)
    mixing = stream(seed, "contexts").random((K, J))
    prior = MixedEffectPrior(
        mixing / mixing.sum(axis=1, keepdims=True),
        np.diag(np.linspace(0.1**2, 0.5**2, J)),
        np.linspace(0.1, 0.5, K)[:, None, None] ** 2,
        effect_mean=np.linspace(0.0, 2.0, J),
    )
    return Posed(BanditProblem(K, 1, prior, GaussianReward(noise_std)), np.ones(1))


@lru_cache(maxsize=128)  # the rules and budgets of a comparison are played on the same problems
def ratings(
    seed: int, data: str | os.PathLike[str] = "ml-1m", num_actions: int = 100, rank: int = 5, min_ratings: int = 20
) -> Posed:
    """The movie that a user likes best, with a prior of what genres and year say, fitted to other movies.

    It is `MovieLensBandit-v0` with ``movie_features=True``, whose arguments these are: movies and user are drawn under
    ``seed``, true scores are the products of their factors, and rewards have the noise of the factorisation's
    residuals.
    """
    env: Any = gym.make(
        "MovieLensBandit-v0",
        data=data,
        num_actions=num_actions,
        rank=rank,
        min_ratings=min_ratings,
        movie_features=True,
        prior_seed=seed,
        disable_env_checker=True,
    ).unwrapped
    user, _ = env.reset(seed=seed)
    return Posed(env.problem, user.astype(np.float64), env.instance)


SETTINGS: dict[str, Callable[..., Posed]] = {
    "mab": mab,
    "linear": linear,
    "hierarchical": hierarchical,
    "ratings": ratings,
}


def pose(name: str, settings: Mapping[str, Any], seed: int) -> Posed:
    """The problem of a seed.

    Parameters
    ----------
    name : "mab", "linear", "hierarchical" or "ratings".
    settings : arguments of its function that differ from its defaults.
    seed : seed for what is drawn before the instance: features, mixing weights, or movies and user.

    Raises
    ------
    ValueError
        If there is no such problem, a setting is unknown, or a setting or the seed is out of range.
    OSError
        If the ratings cannot be read or downloaded.

    Examples
    --------
    >>> pose("hierarchical", {"num_actions": 4}, 0).problem.prior
    MixedEffectPrior(dim=1, num_actions=4, effect_dim=10)
    """
    if name not in SETTINGS:
        raise ValueError(f"name must be one of {list(SETTINGS)}, got {name!r:.200}{did_you_mean(name, SETTINGS)}")
    known = integer("seed", seed, 0)
    try:
        return SETTINGS[name](known, **settings)
    except TypeError as error:
        raise ValueError(f"settings must be arguments of {name!r}, got {dict(settings)!r:.200}") from error
