"""Gaussian mixtures fitted to parameter vectors, by expectation-maximisation."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import LARGEST, covariance, finite_array, integer

# Number of starts; the one of the largest likelihood after some steps is continued.
_STARTS, _SHORT = 4, 10
# Largest numbers of steps of k-means and of expectation-maximisation; the latter ends when the mean log-likelihood
# gains less.
_KMEANS_STEPS, _LONG, _GAIN = 10, 200, 3e-5
# Covariances get this share of the parameters' covariance added: a component of a single vector keeps a density.
_FLOOR = 1e-4
# A column counts as constant if it varies by less than this share of its values, and a direction as one without spread
# if the standardised vectors vary by less than this along it.
_NO_SPREAD = 1e-12
# The search for a number of components ends after as many without a better one.
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
    A local maximum of the likelihood: expectation-maximisation from k-means with a k-means++ start, the best of four
    after ten steps; deterministic. Covariances are full; each gets 0.0001 of the parameters' covariance added to it.
    Units and rotations of the parameters do not matter to that: vectors are whitened first, and the mixture is mapped
    back. Two of the starts look for clusters in the given units, two in the whitened ones. A direction in which the
    vectors do not differ at all is given 0.0001 of the variance of the columns that it lies in (of the mean column's
    where these are constant). O(N C d^2 + C d^3) a step, some dozens of steps, O(N d^2) memory.

    Source: Dempster, Laird and Rubin (1977); Arthur and Vassilvitskii, "k-means++" (2007); Schwarz (1978).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> theta = np.concatenate([rng.normal(-3, 1, (300, 1)), rng.normal(3, 1, (100, 1))])
    >>> fit_mixture(theta).weights.round(1)
    array([0.8, 0.2])
    """
    theta = finite_array("parameters", parameters, (None, None), LARGEST)
    start, most = integer("seed", seed, 0), integer("max_components", max_components, 1)
    N, d = theta.shape
    if N < 2 or d < 1:
        raise ValueError(f"parameters must be two vectors or more, got shape {theta.shape}")
    if (theta == theta[0]).all():
        raise ValueError(f"parameters must differ, got {N} times {theta[0]}")
    center = theta.mean(axis=0)
    root, white = _whitened(theta)

    def fitted(C: int) -> tuple[Mixture, float]:
        found, log_likelihood = _fitted(theta - center, white, C, np.random.default_rng([start, C]))
        covs = root @ found.covs @ root.T
        means, covs = center + found.means @ root.T, (covs + covs.swapaxes(1, 2)) / 2
        return Mixture(found.weights, means, covs), log_likelihood

    if num_components is not None:
        return fitted(integer("num_components", num_components, 1, N))[0]
    best, least, worse = None, math.inf, 0
    for C in range(1, min(most, N) + 1):
        mixture, log_likelihood = fitted(C)
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


def _whitened(theta: Array) -> tuple[Array, Array]:
    """A root (d, d) of the covariance of vectors, and the centred vectors in its units, (N, d).

    Directions without spread have a unit all the same: that of the columns that they lie in.
    """
    std = theta.std(axis=0)
    varies = np.ptp(theta, axis=0) > _NO_SPREAD * np.abs(theta).max(axis=0)
    unit = np.where(varies, std, math.sqrt(float((std**2).mean())))
    standard = (theta - theta.mean(axis=0)) / unit
    values, vectors = np.linalg.eigh(standard.T @ standard / len(theta))
    scales = np.sqrt(np.where(values > _NO_SPREAD, values, 1.0))
    return unit[:, None] * vectors * scales, standard @ vectors / scales


def _fitted(theta: Array, white: Array, C: int, rng: np.random.Generator) -> tuple[Mixture, float]:
    """The mixture of whitened vectors, and their mean log-likelihood; ``theta`` are the same in the given units."""
    products = _products(white)
    if C == 1:
        starts = [np.ones((len(white), 1))]
    else:
        starts = [np.eye(C)[_clusters((theta, white)[i % 2], C, rng)] for i in range(_STARTS)]
    tried = [_climbed(products, start, white.shape[1], _SHORT) for start in starts]
    _, responsibilities, _ = max(tried, key=lambda climbed: climbed[2])
    mixture, _, log_likelihood = _climbed(products, responsibilities, white.shape[1], _LONG)
    return mixture, log_likelihood


def _climbed(products: Array, responsibilities: Array, d: int, max_steps: int) -> tuple[Mixture, Array, float]:
    """Steps of expectation-maximisation: the mixture, the responsibilities and the mean log-likelihood under it."""
    before = -math.inf
    for _ in range(max_steps):
        mixture = _maximised(products, responsibilities, d)
        responsibilities, log_likelihood = _expected(products, mixture)
        if log_likelihood - before < _GAIN:
            break
        before = log_likelihood
    return mixture, responsibilities, log_likelihood


def _products(theta: Array) -> Array:
    """One, the coordinates and their products, (N, 1 + d + d (d + 1) / 2): sums over vectors are products with it."""
    rows, cols = np.triu_indices(theta.shape[1])
    return np.hstack([np.ones((len(theta), 1)), theta, theta[:, rows] * theta[:, cols]])


def _maximised(products: Array, responsibilities: Array, d: int) -> Mixture:
    """The mixture of the largest expected log-likelihood, without components of less than half a vector."""
    sums = responsibilities.T @ products  # (C, 1 + d + d (d + 1) / 2)
    sums = sums[sums[:, 0] > 0.5]
    totals = sums[:, 0]
    means = sums[:, 1 : d + 1] / totals[:, None]
    rows, cols = np.triu_indices(d)
    covs = np.empty((len(totals), d, d))
    covs[:, rows, cols] = sums[:, d + 1 :] / totals[:, None] - means[:, rows] * means[:, cols]
    covs[:, cols, rows] = covs[:, rows, cols]
    return Mixture(totals / totals.sum(), means, covs + _FLOOR * np.eye(d))


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
