"""The bandits in which a best action is looked for, as data, and the normal distribution of scores that each implies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.prior import Prior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import did_you_mean, finite_array, integer


class Setting(NamedTuple):
    """A problem, and the context at which its actions are judged: (d,), or (K, d) where they share a parameter."""

    problem: BanditProblem
    context: Array


class ScorePrior(NamedTuple):
    """A normal distribution of K scores: mean (K,) and covariance (K, K)."""

    mean: Array
    cov: Array


def score_prior(problem: BanditProblem, context: Any) -> ScorePrior:
    """The prior distribution of the actions' mean rewards at one context.

    Parameters
    ----------
    problem : a problem with Gaussian rewards, whose prior is a `MixedEffectPrior` or a `LinearDiffusionPrior`.
    context : (d,), or (K, d) where all actions share one parameter vector; None is allowed for (1,) alone, and is 1.

    Raises
    ------
    ValueError
        If the rewards or the prior are of another kind, or the context is missing or has another shape.

    Notes
    -----
    Exact: a linear function of normal parameters is normal.

    Examples
    --------
    >>> score_prior(mab(num_actions=2).problem, [1.0])
    ScorePrior(mean=array([0., 1.]), cov=array([[0.01, 0.  ],
           [0.  , 0.25]]))
    """
    x = checked_context(problem, context)
    if not isinstance(problem.reward_model, GaussianReward):
        raise ValueError(f"problem must have Gaussian rewards, got {problem.reward_model!r:.200}")
    prior = problem.prior
    if problem.features == "shared":
        mean, cov = _two_levels(prior).marginal()
        return ScorePrior(x @ mean, _symmetric(x @ cov @ x.T))
    if isinstance(prior, MixedEffectPrior):
        root = prior.effect_root()
        columns = np.stack([prior.mix(column) for column in root.T], axis=-1) if root.size else None  # (K, d, r)
        own = np.einsum(
            "i,kij,j->k", x, np.broadcast_to(prior.action_cov, (prior.num_actions, prior.dim, prior.dim)), x
        )
        shared = np.zeros((len(own), 0)) if columns is None else np.einsum("d,kdr->kr", x, columns)
        means = (prior.action_means + prior.mix(prior.effect_mean)) @ x
        return ScorePrior(means, _symmetric(shared @ shared.T + np.diag(own)))
    K = problem.num_actions
    parts = _two_levels(prior)
    cov = np.full((K, K), x @ parts.shared_cov @ x) + np.eye(K) * (x @ parts.action_cov @ x)
    return ScorePrior(np.full(K, x @ parts.mean), cov)


def checked_context(problem: BanditProblem, context: Any) -> Array:
    """The context as float64 numbers; ValueError if it does not fit the problem."""
    if context is None and problem.context_shape == (1,):
        return np.ones(1)
    if context is None:
        raise ValueError(
            f"context must be the one at which actions are judged, of shape {problem.context_shape}, got None"
        )
    return finite_array("context", context, problem.context_shape)


def mab(seed: int = 0, num_actions: int = 10) -> Setting:
    """Independent actions of prior means ``linspace(0, 1)`` and deviations ``linspace(.1, .5)``, with noise 1.

    It is the same for every seed. Source: Nguyen et al. (2025).
    """
    K = integer("num_actions", num_actions, 1)
    std = np.linspace(0.1, 0.5, K)
    prior = MixedEffectPrior(
        np.zeros((K, 0)), np.zeros((0, 0)), std[:, None, None] ** 2, action_means=np.linspace(0.0, 1.0, K)[:, None]
    )
    return Setting(BanditProblem(K, 1, prior, GaussianReward(1.0)), np.ones(1))


def linear(seed: int = 0, num_actions: int = 30, dim: int = 4) -> Setting:
    """One parameter vector for all actions, ``N(0, I)``, and features that are normal numbers drawn under ``seed``."""
    K, d = integer("num_actions", num_actions, 1), integer("dim", dim, 1)
    features = stream(seed, "contexts").standard_normal((K, d))
    chain = LinearDiffusionPrior([np.eye(d)], [np.eye(d) / 2, np.eye(d) / 2])
    return Setting(BanditProblem(K, d, chain, GaussianReward(1.0), features="shared"), features)


def hierarchical(seed: int = 0, num_actions: int = 60, num_effects: int = 10) -> Setting:
    """Effects that actions share: mixing weights ``b_i`` are uniform numbers over their sum, drawn under ``seed``.

    The effects are ``N(linspace(0, 2), diag(linspace(.1^2, .5^2)))``, the actions' own deviations ``linspace(.1, .5)``,
    the noise 1. Source: Nguyen et al. (2025).
    """
    K, J = integer("num_actions", num_actions, 1), integer("num_effects", num_effects, 1)
    mixing = stream(seed, "contexts").random((K, J))
    prior = MixedEffectPrior(
        mixing / mixing.sum(axis=1, keepdims=True),
        np.diag(np.linspace(0.1**2, 0.5**2, J)),
        np.linspace(0.1, 0.5, K)[:, None, None] ** 2,
        effect_mean=np.linspace(0.0, 2.0, J),
    )
    return Setting(BanditProblem(K, 1, prior, GaussianReward(1.0)), np.ones(1))


SETTINGS: dict[str, Callable[..., Setting]] = {"mab": mab, "linear": linear, "hierarchical": hierarchical}


def setting_of(name: str) -> Callable[..., Setting]:
    """The function that makes a setting for a seed; ValueError for an unknown name."""
    if name not in SETTINGS:
        raise ValueError(f"setting must be one of {list(SETTINGS)}, got {name!r:.200}{did_you_mean(name, SETTINGS)}")
    return SETTINGS[name]


def _two_levels(prior: Prior) -> TwoLevelPrior:
    if not isinstance(prior, LinearDiffusionPrior):
        raise ValueError(
            f"prior must be a LinearDiffusionPrior, or a MixedEffectPrior of actions with parameters of their own, "
            f"got {prior!r:.200}"
        )
    return prior.two_level()


def _symmetric(cov: Array) -> Array:
    return np.asarray((cov + cov.T) / 2)
