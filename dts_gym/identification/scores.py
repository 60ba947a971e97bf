"""The scores of the actions at a fixed context: their prior distribution, and those of one instance."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import LARGEST, finite_array


class ScorePrior(NamedTuple):
    """The normal prior of K scores.

    Attributes
    ----------
    mean : (K,) prior means.
    cov : (K, K) prior covariance, PSD.
    """

    mean: Array
    cov: Array


def checked_context(problem: BanditProblem, context: Any) -> Array:
    """A fixed context of the problem's shape; without one, ``[1.0]`` where parameters are single numbers.

    Raises
    ------
    ValueError
        If the shape does not fit, or there is no context and parameters have several coordinates.
    """
    if context is None:
        if problem.features == "disjoint" and problem.dim == 1:
            return np.ones(1)
        raise ValueError(
            f"context must be given for a problem, of shape {problem.context_shape}: one context for all rounds; an "
            "environment has contexts of its own"
        )
    return finite_array("context", context, problem.context_shape, LARGEST)


def score_prior(problem: BanditProblem, context: Array) -> ScorePrior | None:
    """The prior of the scores ``x' theta_a`` where it is normal and rewards are Gaussian, else None.

    Parameters
    ----------
    problem : a problem whose prior is a chain of affine links, or of mixed effects, for an exact result.
    context : (d,), or (K, d) features of a shared parameter.

    Examples
    --------
    >>> from dts_gym import GaussianReward, random_linear_prior
    >>> problem = BanditProblem(3, 2, random_linear_prior(2, 1), GaussianReward())
    >>> score_prior(problem, np.ones(2)).cov.shape
    (3, 3)
    """
    if not isinstance(problem.reward_model, GaussianReward):
        return None
    prior, K = problem.prior, problem.num_actions
    if isinstance(prior, MixedEffectPrior) and problem.features == "disjoint":
        by_effects = np.kron(prior.mixing, context) if prior.is_by_weights else context @ prior.mixing  # (K, q)
        root = by_effects @ prior.effect_root()
        own = np.broadcast_to(context @ prior.action_cov @ context, (K,))
        mean = prior.action_means @ context + by_effects @ prior.effect_mean
        return ScorePrior(mean, root @ root.T + np.diag(own))
    if isinstance(prior, LinearDiffusionPrior):
        mean, shared, own_cov = prior.two_level()
        if problem.features == "shared":
            return ScorePrior(context @ mean, _symmetric(context @ (shared + own_cov) @ context.T))
        common, each = context @ shared @ context, context @ own_cov @ context
        return ScorePrior(np.full(K, context @ mean), np.full((K, K), common) + each * np.eye(K))
    return None


def drawn_instance(problem: BanditProblem, rng: np.random.Generator) -> BanditInstance:
    """An instance drawn from the problem's prior."""
    shared = problem.features == "shared"
    parameters = problem.prior.sample(rng, 1 if shared else problem.num_actions)
    return BanditInstance(parameters[0] if shared else parameters, problem.reward_model)


def _symmetric(cov: Array) -> Array:
    return np.asarray((cov + cov.T) / 2)
