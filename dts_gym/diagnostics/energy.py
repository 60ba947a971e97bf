"""Energy distance of two samples: zero exactly where their distributions agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import gammaincc, gammaln, ndtri

from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import finite_array, integer

_CHUNK_ENTRIES = 1 << 22  # number of distances in memory at a time: 32 MB


class EnergyScore(NamedTuple):
    """The distance of a sample from the true distribution.

    Attributes
    ----------
    distance : energy distance after whitening by the truth's covariance; unbiased, so it may be negative.
    noise_floor : root mean square of the same distance between two samples of the true distribution, of the same sizes.
    z_score : normal score of the distance under its distribution for samples drawn from the truth.
    """

    distance: float
    noise_floor: float
    z_score: float


def energy_distance(x: Array, y: Array, *, unbiased: bool = True) -> float:
    """``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` from samples of both.

    Parameters
    ----------
    x, y : (n, d) and (m, d) samples, of two rows at least.
    unbiased : whether a point's distance to itself is left out of the means (U-statistic); else it is kept
        (V-statistic: never negative, biased upward by order 1/n + 1/m).

    Returns
    -------
    float
        The distance, in the units of ``x``; its mean is zero where the distributions agree.

    Notes
    -----
    Exact for the samples, deterministic. O((n + m)^2 d) time, 32 MB.

    Source: Szekely and Rizzo, "Energy statistics: a class of statistics based on distances" (2013).

    Examples
    --------
    >>> energy_distance([[0.0], [2.0]], [[1.0], [3.0]]), energy_distance([[0.0], [2.0]], [[0.0], [2.0]], unbiased=False)
    (-1.0, 0.0)
    """
    x = _sample("x", x, None)
    y = _sample("y", y, x.shape[1])
    n, m = len(x), len(y)
    own = int(unbiased)
    within = _total(x, x) / (n * (n - own)) + _total(y, y) / (m * (m - own))
    return 2.0 * _total(x, y) / (n * m) - within


def energy_score(x: Array, truth: Array, rng: np.random.Generator, num_splits: int = 300) -> EnergyScore:
    """The energy distance of a sample to the truth, beside its distribution by chance alone.

    Parameters
    ----------
    x : (n, d) independent draws of the distribution to test.
    truth : (m, d) independent draws of the true distribution; thin Markov chains until their draws are independent. The
        covariance must not be singular.
    rng : random generator for the splits.
    num_splits : number of random splits of the truth, each of which makes two samples of the same distribution.

    Returns
    -------
    EnergyScore
        Distance and floor in standard deviations of the truth.

    Notes
    -----
    The null distribution is that of the distance between two parts of the truth, split at random in proportion n to m,
    times ``m / (n + m)``, which corrects for the smaller size of the parts. It is skewed: a weighted sum of
    chi-squares. So the z-score is not distance over spread, but the normal score of the tail under a gamma distribution
    with the splits' mean, variance and skewness; far in the tail its standard error, from 300 splits, is about a tenth
    of it. Only the truth is split, so a distant sample does not raise its own floor. The cost is
    O((n + m)^2 d + m^2 num_splits) time.

    Source: Szekely and Rizzo (2013); the three moments as in Josse, Pages and Husson, "Testing the significance of
    the RV coefficient" (2008).

    Raises
    ------
    ValueError
        If a shape is wrong, a value not finite, or the truth has a singular covariance.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.standard_normal((1000, 2))
    >>> same, other = (energy_score(shift + rng.standard_normal((500, 2)), truth, rng) for shift in (0.0, 0.3))
    >>> same.z_score < 4.5 < other.z_score, 0 < same.noise_floor < 0.01
    (True, True)
    """
    truth = _sample("truth", truth, None)
    d = truth.shape[1]
    x = _sample("x", x, d)
    n, m = len(x), len(truth)
    integer("num_splits", num_splits, 20)
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(truth.T)))
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError(f"truth must have a covariance of full rank, got the eigenvalues {values}")
    whitener = vectors / np.sqrt(values)
    x, truth = (x - truth.mean(axis=0)) @ whitener, (truth - truth.mean(axis=0)) @ whitener
    distance = energy_distance(x, truth)
    first = min(max(2, round(m * n / (n + m))), m - 2)
    null = _split_distances(truth, first, num_splits, rng)
    null *= (1 / n + 1 / m) / (1 / first + 1 / (m - first))
    return EnergyScore(distance, float(np.sqrt((null**2).mean())), _normal_score(distance, null))


def _sample(name: str, value: Array, dim: int | None) -> Array:
    array = finite_array(name, value, (None, dim))
    if len(array) < 2:
        raise ValueError(f"{name} must have two rows at least, got {len(array)}")
    return array


def _total(x: Array, y: Array) -> float:
    """The sum of all distances between rows."""
    rows = max(1, _CHUNK_ENTRIES // len(y))
    return float(sum(cdist(x[i : i + rows], y).sum() for i in range(0, len(x), rows)))


def _split_distances(sample: Array, first: int, num_splits: int, rng: np.random.Generator) -> Array:
    """Energy distances between a random ``first`` of the rows and the rest, (num_splits,).

    With ``s`` the indicator of a part and ``D`` the distances, all sums follow from ``s'Ds``, ``s'D1`` and ``1'D1``.
    """
    N = len(sample)
    last = N - first
    ranks = rng.random((num_splits, N)).argsort(axis=1).argsort(axis=1)
    s = (ranks < first).astype(np.float64)  # (splits, N)
    inside, mixed, total = np.zeros(num_splits), np.zeros(num_splits), 0.0
    rows = max(1, _CHUNK_ENTRIES // N)
    for i in range(0, N, rows):
        distances = cdist(sample[i : i + rows], sample)  # (rows, N)
        part = s[:, i : i + rows]
        inside += np.einsum("bi,bi->b", part, s @ distances.T)
        row_sums = distances.sum(axis=1)
        mixed += part @ row_sums
        total += float(row_sums.sum())
    cross, outside = mixed - inside, total - 2.0 * mixed + inside
    return np.asarray(2.0 * cross / (first * last) - inside / (first * (first - 1)) - outside / (last * (last - 1)))


def _normal_score(value: float, null: Array) -> float:
    """Normal score of the upper tail under a gamma distribution (Pearson III) with the null's first three moments."""
    mean, std = float(null.mean()), float(null.std(ddof=1))
    standard = (value - mean) / std
    skewness = float((((null - mean) / std) ** 3).mean())
    if skewness < 0.05:
        return standard
    shape = 4.0 / skewness**2
    position = shape + np.sqrt(shape) * standard  # standard gamma with this shape
    if position <= 0.0:
        return float(ndtri(0.5 / len(null)))
    with np.errstate(divide="ignore"):
        log_tail = float(np.log(gammaincc(shape, position)))
    if not np.isfinite(log_tail):  # the leading term of the tail
        log_tail = float((shape - 1.0) * np.log(position) - position - gammaln(shape))
    if log_tail > -30.0:
        return float(-ndtri(np.exp(log_tail)))
    return float(np.sqrt(-2.0 * log_tail - np.log(-4.0 * np.pi * log_tail)))
