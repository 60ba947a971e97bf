"""Gaussian priors fitted to parameters of past actions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.prior import ChainPrior, Prior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import DEEPEST, LARGEST, finite_array, integer

# Number of prior draws that replace past parameters where there are none.
_PRIOR_DRAWS = 10_000
_MOMENT_DRAWS = 500


def prior_draws(prior: Prior) -> Array:
    """Return 10 000 independent draws of an action's parameters from a prior, the same every time.

    Examples
    --------
    >>> from dts_gym import random_linear_prior
    >>> prior_draws(random_linear_prior(3, 2)).shape
    (10000, 3)
    """
    return independent_draws(prior, stream(0, "past-parameters"), _PRIOR_DRAWS)


def independent_draws(prior: Prior, rng: np.random.Generator, size: int) -> Array:
    """Draw parameters of ``size`` actions that share nothing, (size, d): from a chain at branch L, else from instances.

    A prior that knows the actions one by one is drawn for one of them, picked at random, each time.

    Examples
    --------
    >>> from dts_gym import random_linear_prior
    >>> independent_draws(random_linear_prior(3, 2), np.random.default_rng(0), 4).shape
    (4, 3)
    """
    if isinstance(prior, ChainPrior):
        return prior.with_branch(prior.depth).sample(rng, size)
    if isinstance(prior, MixedEffectPrior | OffsetPrior):
        return prior.draws(rng, size)
    return np.concatenate([prior.sample(rng, 1) for _ in range(size)])


def marginal_moments(prior: Prior) -> tuple[Array, Array]:
    """Mean (d,) and covariance (d, d) of an action's parameters; of a prior that is not linear by 500 draws.

    Examples
    --------
    >>> from dts_gym.priors import LinearDiffusionPrior
    >>> marginal_moments(LinearDiffusionPrior([2 * np.eye(1)], [np.eye(1), np.eye(1)]))
    (array([0.]), array([[5.]]))
    """
    chain = as_linear(prior)
    if chain is not None:
        return chain.two_level(chain.depth).marginal()
    if isinstance(prior, MixedEffectPrior):
        means, covs = prior.marginals()
        off = means - means.mean(axis=0)
        return means.mean(axis=0), covs.mean(axis=0) + off.T @ off / len(off)
    return _sampled_moments(prior)


@lru_cache(maxsize=8)
def _sampled_moments(prior: Prior) -> tuple[Array, Array]:
    """Found once: the agents of an experiment have one prior, and a deep chain takes a quarter of a second."""
    return fit_gaussian(independent_draws(prior, stream(0, "past-parameters"), _MOMENT_DRAWS)).marginal()


def fit_gaussian(parameters: Array) -> TwoLevelPrior:
    """Fit independent actions, each normal with the mean and covariance of past parameters.

    Every vector counts: leave out those that lie far from all others first (`dts_gym.priors.outliers`), for one in a
    hundred at 30 standard deviations makes the fit three times too wide.

    Parameters
    ----------
    parameters : (N, d) past parameters, with N >= 2. With N <= d the covariance is singular: actions stay in the span
        of the past.

    Returns
    -------
    TwoLevelPrior
        A prior in which nothing is shared.

    Raises
    ------
    ValueError
        If there are fewer than two vectors, or one is not finite.

    Examples
    --------
    >>> fit_gaussian([[1.0], [2.0], [6.0]])
    TwoLevelPrior(mean=array([3.]), shared_cov=array([[0.]]), action_cov=array([[7.]]))
    """
    theta = finite_array("parameters", parameters, (None, None), LARGEST)
    if len(theta) < 2 or theta.shape[1] < 1:
        raise ValueError(f"parameters must be two vectors or more, got shape {theta.shape}")
    d = theta.shape[1]
    return TwoLevelPrior(theta.mean(axis=0), np.zeros((d, d)), np.atleast_2d(np.cov(theta, rowvar=False)))


def fit_linear_chain(parameters: Array, depth: int, branch: int) -> LinearDiffusionPrior:
    """Fit a chain of identity links whose marginal has the mean and covariance of past parameters.

    Parameters
    ----------
    parameters : (N, d) past parameters, with N >= 2.
    depth : L >= 1, the number of links.
    branch : levels above this one are shared, 0..L.

    Returns
    -------
    LinearDiffusionPrior
        The covariance is split evenly over the L + 1 levels: ``branch + 1`` of them are per action. The mean is the
        offset of the last link.

    Raises
    ------
    ValueError
        As in `fit_gaussian`, and for a depth or branch out of range.
    """
    mean, _, cov = fit_gaussian(parameters)
    d, L = len(mean), integer("depth", depth, 1, most=DEEPEST)
    offsets = [mean, *[np.zeros(d)] * (L - 1)]
    return LinearDiffusionPrior([np.eye(d)] * L, [cov / (L + 1)] * (L + 1), offsets, branch)
