"""A pool of draws of a prior's chain, reweighted by rewards: the true posterior of one parameter vector.

Given ``f_1(psi_1)``, theta is ``N(f_1(psi_1), Sigma_1)``: many draws of the chain down to ``psi_1`` make the prior a
mixture of as many normal distributions, and under Gaussian rewards its posterior is another such mixture, in closed
form. It shares nothing with the agents: no messages, no surrogates, no guided particles.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dts_gym.priors.links import finite_value
from dts_gym.priors.prior import ChainPrior, as_chain_prior
from dts_gym.utils.arrays import Array, factor
from dts_gym.utils.validation import finite_array, integer, positive

_CHUNK = 20_000  # number of chains drawn together


class PriorPool(NamedTuple):
    """Draws of a prior's chain.

    Attributes
    ----------
    prior : the prior that they are drawn from.
    means : (M, d) values ``f_1(psi_1)``, the means of theta given the chain.
    """

    prior: ChainPrior
    means: Array


class PoolPosterior(NamedTuple):
    """Draws of a pool's posterior, and a measure of their reliability.

    Attributes
    ----------
    draws : (n, d) draws, independent given the pool.
    effective_draws : the effective sample size of the pool's weights: the pool adds as much to the error of a mean as
        this many independent draws have.
    """

    draws: Array
    effective_draws: float


def draw_pool(prior: ChainPrior, size: int, rng: np.random.Generator) -> PriorPool:
    """Draw ``size`` independent chains of one link or more, by O(size L) evaluations of a link.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> draw_pool(random_linear_prior(2, 3), 100, np.random.default_rng(0)).means.shape
    (100, 2)
    """
    if not as_chain_prior(prior).depth:
        raise ValueError("prior must have a link or more, got none")
    M = integer("size", size, 2)
    chain = prior.with_branch(prior.depth)
    parts = []
    for start in range(0, M, _CHUNK):
        psi = chain.sample_chain(rng, min(_CHUNK, M - start))[1]
        parts.append(finite_value(prior.links[0], psi, "links[0]"))
    return PriorPool(prior, np.concatenate(parts))


def sample_pool(
    pool: PriorPool, contexts: Array, rewards: Array, noise_std: float, draws: int, rng: np.random.Generator
) -> PoolPosterior:
    """Draw theta from the posterior under Gaussian rewards of mean ``x' theta``.

    Parameters
    ----------
    pool : result of `draw_pool`.
    contexts, rewards : (n, d) and (n,) observations, n >= 0.
    noise_std : standard deviation of the rewards.
    draws : number of draws.
    rng : random generator for the draws.

    Returns
    -------
    PoolPosterior

    Notes
    -----
    Consistent in the size of the pool, which the rewards reweight by their exact marginal likelihood given
    ``f_1(psi_1)``; the step from there to theta is exact, also for a singular ``Sigma_1``. So the weights need not
    find theta itself, only a neighbourhood of the size of ``Sigma_1``. The cost is O(M d^2).

    Raises
    ------
    ValueError
        If a shape is wrong, a value not finite or a number out of its range.

    Examples
    --------
    >>> from dts_gym.priors.random_priors import random_linear_prior
    >>> rng = np.random.default_rng(0)
    >>> pool = draw_pool(random_linear_prior(2, 3), 1000, rng)
    >>> found = sample_pool(pool, np.eye(2), np.ones(2), 1.0, 50, rng)
    >>> found.draws.shape, 50 < found.effective_draws <= 1000
    ((50, 2), True)
    """
    f, root = pool.means, factor(pool.prior.covariances[0])  # (M, d), (d, r)
    X = finite_array("contexts", contexts, (None, pool.prior.dim))
    y = finite_array("rewards", rewards, (len(X),))
    variance, n = positive("noise_std", noise_std) ** 2, integer("draws", draws, 1)
    G, h = X.T @ X / variance, X.T @ y / variance
    # Around f, theta = f + root e with e standard normal; its posterior given f is N(f + C r, C), r = h - G f.
    chol = np.linalg.cholesky(np.eye(root.shape[1]) + root.T @ G @ root)
    whitened = np.linalg.solve(chol, root.T)  # (r, d): C = whitened' whitened
    r = h - f @ G
    reach = r @ whitened.T  # (M, r)
    log_weights = 0.5 * np.vecdot(reach, reach) + f @ h - 0.5 * np.vecdot(f @ G, f)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    chosen = rng.choice(len(f), size=n, p=weights)
    theta = f[chosen] + (reach[chosen] + rng.standard_normal((n, root.shape[1]))) @ whitened
    return PoolPosterior(theta, float(1.0 / np.vecdot(weights, weights)))
