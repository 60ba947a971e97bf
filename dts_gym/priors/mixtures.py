"""Gaussian mixtures fitted to parameter vectors, by expectation-maximisation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import covariance, finite_array, integer

# Number of starts; the one of the largest likelihood after some steps is continued.
_STARTS, _SHORT = 4, 10
# Largest numbers of steps of k-means and of expectation-maximisation; the latter ends when the mean log-likelihood
# gains less.
_KMEANS_STEPS, _LONG, _GAIN = 10, 200, 3e-5
# Covariances get this share of the parameters' mean variance added: a component of a single vector keeps a density.
_FLOOR = 1e-4
# The search for a number of components ends after this many numbers without improvement.
_PATIENCE = 2
_FIXED_SEED = 20240611


class Mixture(NamedTuple):
    """A mixture of C normal distributions.

    Attributes
    ----------
    weights : (C,) positive weights that sum to 1.
    means : (C, d) means of the components.
    covs : (C, d, d) PSD covariances of the components.
    """

    weights: Array
    means: Array
    covs: Array

    def moments(self) -> tuple[Array, Array]:
        """Mean (d,) and covariance (d, d) of the mixture.

        Examples
        --------
        >>> Mixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.0]]), np.ones((2, 1, 1))).moments()
        (array([0.]), array([[2.]]))
        """
        mean = self.weights @ self.means
        off = self.means - mean
        return mean, np.einsum("c,cij->ij", self.weights, self.covs + off[:, :, None] * off[:, None, :])


def checked_mixture(value: Mixture, dim: int) -> Mixture:
    """Return ``value`` if it is a mixture in ``dim`` dimensions; else raise ValueError."""
    if not isinstance(value, Mixture):
        raise ValueError(f"mixture must be a dts_gym Mixture, got {value!r:.200}")
    weights = finite_array("mixture.weights", value.weights, (None,))
    if not (weights > 0).all() or abs(weights.sum() - 1.0) > 1e-9:
        raise ValueError(f"mixture.weights must be positive and sum to 1, got {weights}")
    C = len(weights)
    means = finite_array("mixture.means", value.means, (C, dim))
    covs = finite_array("mixture.covs", value.covs, (C, dim, dim))
    return Mixture(weights, means, np.array([covariance(f"mixture.covs[{c}]", S, dim) for c, S in enumerate(covs)]))


def fit_mixture(
    parameters: Array, num_components: int | None = None, *, max_components: int = 10, seed: int = _FIXED_SEED
) -> Mixture:
    """Fit a mixture of normal distributions to past parameters.

    Parameters
    ----------
    parameters : (N, d) past parameters, with N >= 2.
    num_components : C, the number of components, at most N; None chooses it by the Bayesian information criterion: it
        counts up from 1 until two more numbers have been no better, or to ``max_components`` or N.
    max_components : largest number of components tried where ``num_components`` is None.
    seed : seed for the starts.

    Returns
    -------
    Mixture
        The fitted mixture. A component may have died out: it then has fewer than C.

    Raises
    ------
    ValueError
        If a size is out of range, a value is not finite, or all parameters are equal.

    Notes
    -----
    The result is a local maximum of the likelihood, found by expectation-maximisation from k-means with a k-means++
    start, the best of four after ten steps; it is deterministic given the seed. Covariances are full; each gets 0.0001
    of the parameters' mean variance added to its diagonal, so parameters on scales far apart should be standardised
    before. A step costs O(N C d^2 + C d^3), and there are some dozens; memory is O(N d^2).

    Source: Dempster, Laird and Rubin (1977); Arthur and Vassilvitskii, "k-means++" (2007); Schwarz (1978).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> theta = np.concatenate([rng.normal(-3, 1, (300, 1)), rng.normal(3, 1, (100, 1))])
    >>> fit_mixture(theta).weights.round(1)
    array([0.8, 0.2])
    """
    theta = finite_array("parameters", parameters, (None, None))
    N, d = theta.shape
    if N < 2 or d < 1:
        raise ValueError(f"parameters must be two vectors or more, got shape {theta.shape}")
    floor = _FLOOR * float(theta.var(axis=0).mean())
    if floor == 0:
        raise ValueError(f"parameters must differ, got {N} times {theta[0]}")
    if num_components is not None:
        C = integer("num_components", num_components, 1, N)
        return _fitted(theta, C, floor, np.random.default_rng([seed, C]))[0]
    best, least, worse = None, math.inf, 0
    for C in range(1, min(integer("max_components", max_components, 1), N) + 1):
        mixture, log_likelihood = _fitted(theta, C, floor, np.random.default_rng([seed, C]))
        numbers = len(mixture.weights) * (1 + d + d * (d + 1) / 2) - 1
        criterion = numbers * math.log(N) - 2 * N * log_likelihood
        if criterion < least:
            best, least, worse = mixture, criterion, 0
        else:
            worse += 1
            if worse == _PATIENCE:
                break
    assert best is not None
    return best


def _fitted(theta: Array, C: int, floor: float, rng: np.random.Generator) -> tuple[Mixture, float]:
    """The mixture, and the mean log-likelihood of a vector under it."""
    center = theta.mean(axis=0)  # subtracted so that products do not cancel
    theta = theta - center
    products = _products(theta)
    starts = [np.eye(C)[_clusters(theta, C, rng)] for _ in range(_STARTS if C > 1 else 1)]
    tried = [_climbed(products, start, theta.shape[1], floor, _SHORT) for start in starts]
    _, responsibilities, _ = max(tried, key=lambda climbed: climbed[2])
    mixture, _, log_likelihood = _climbed(products, responsibilities, theta.shape[1], floor, _LONG)
    return mixture._replace(means=mixture.means + center), log_likelihood


def _climbed(
    products: Array, responsibilities: Array, d: int, floor: float, max_steps: int
) -> tuple[Mixture, Array, float]:
    """Run steps of expectation-maximisation; returns the mixture, its responsibilities and its mean log-likelihood."""
    before = -math.inf
    for _ in range(max_steps):
        mixture = _maximised(products, responsibilities, d, floor)
        responsibilities, log_likelihood = _expected(products, mixture)
        if log_likelihood - before < _GAIN:
            break
        before = log_likelihood
    return mixture, responsibilities, log_likelihood


def _products(theta: Array) -> Array:
    """One, the coordinates and their products, (N, 1 + d + d (d + 1) / 2): sums over vectors are products with it."""
    rows, cols = np.triu_indices(theta.shape[1])
    return np.hstack([np.ones((len(theta), 1)), theta, theta[:, rows] * theta[:, cols]])


def _maximised(products: Array, responsibilities: Array, d: int, floor: float) -> Mixture:
    """The mixture of the largest expected log-likelihood, without components that hold less than half a vector."""
    sums = responsibilities.T @ products  # (C, 1 + d + d (d + 1) / 2)
    sums = sums[sums[:, 0] > 0.5]
    totals = sums[:, 0]
    means = sums[:, 1 : d + 1] / totals[:, None]
    rows, cols = np.triu_indices(d)
    covs = np.empty((len(totals), d, d))
    covs[:, rows, cols] = sums[:, d + 1 :] / totals[:, None] - means[:, rows] * means[:, cols]
    covs[:, cols, rows] = covs[:, rows, cols]
    return Mixture(totals / totals.sum(), means, covs + floor * np.eye(d))


def _expected(products: Array, mixture: Mixture) -> tuple[Array, float]:
    """The probability that each vector belongs to each component, (N, C), and the mean log-likelihood."""
    d = mixture.means.shape[1]
    chols = np.linalg.cholesky(mixture.covs)
    whiteners = np.linalg.solve(chols, np.broadcast_to(np.eye(d), chols.shape))
    precisions = whiteners.swapaxes(1, 2) @ whiteners
    natural = np.einsum("cij,cj->ci", precisions, mixture.means)
    constant = np.log(mixture.weights) - 0.5 * (natural * mixture.means).sum(axis=1) - 0.5 * d * math.log(2 * math.pi)
    constant -= np.log(np.diagonal(chols, axis1=1, axis2=2)).sum(axis=1)
    rows, cols = np.triu_indices(d)
    quadratic = precisions[:, rows, cols] * np.where(rows == cols, -0.5, -1.0)
    log_density = products @ np.hstack([constant[:, None], natural, quadratic]).T  # (N, C)
    top = log_density.max(axis=1)
    responsibilities = np.exp(log_density - top[:, None])
    total = responsibilities.sum(axis=1)
    return responsibilities / total[:, None], float((top + np.log(total)).mean())


def _clusters(theta: Array, count: int, rng: np.random.Generator) -> IntArray:
    """Run some steps of k-means from a k-means++ start; returns the cluster of each vector, (N,)."""
    centers = theta[rng.integers(len(theta))][None]
    distance = ((theta - centers[0]) ** 2).sum(axis=1)
    while len(centers) < count:
        total = distance.sum()
        chosen = rng.choice(len(theta), p=distance / total) if total > 0 else rng.integers(len(theta))
        centers = np.vstack([centers, theta[chosen]])
        distance = np.minimum(distance, ((theta - centers[-1]) ** 2).sum(axis=1))
    labels = np.zeros(len(theta), dtype=np.int64)
    for _ in range(_KMEANS_STEPS):
        # |x - c|^2 without |x|^2, which all centres share.
        nearest = ((centers**2).sum(axis=1) - 2 * theta @ centers.T).argmin(axis=1)
        if (nearest == labels).all():
            break
        labels = nearest
        sizes = np.bincount(labels, minlength=count)
        sums = np.eye(count)[labels].T @ theta
        centers = np.where(sizes[:, None] > 0, sums / sizes.clip(1)[:, None], centers)
    return labels
