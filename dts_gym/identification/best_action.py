"""The probability of every action to be the best one under a belief."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from dts_gym.identification.beliefs import Belief
from dts_gym.identification.streams import RunStreams
from dts_gym.utils.arrays import Array, BoolArray, IntArray

# Deviations around an action's mean at which the range of the integral is cut into intervals, and the nodes in each.
_CUTS = np.array([-9.0, -5.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0, 9.0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)
# Equal scores differ by rounding, up to this share of their size.
ROUNDING = 64 * float(np.finfo(np.float64).eps)
_AT_ONCE = 1 << 22  # numbers that one block of draws may hold


def best_probabilities(belief: Belief, streams: RunStreams, draws: int) -> Array:
    """Probability of every action to have the largest score.

    Parameters
    ----------
    belief : belief about R runs.
    streams : the streams of the runs; not used where all scores are independent.
    draws : number of posterior draws.

    Returns
    -------
    (R, K)
        Rows sum to 1.

    Notes
    -----
    Where the belief's covariances are diagonal, by quadrature (`independent_probabilities`, within 1e-9). Else by Monte
    Carlo over the joint belief: the share of draws in which an action is the best, whose standard error is at most
    ``0.5 / sqrt(draws)``. Actions that are equal in a draw share it.
    """
    cov = belief.cov
    runs, K = belief.mean.shape
    off = np.abs(cov - np.einsum("rk,kj->rkj", np.diagonal(cov, axis1=1, axis2=2), np.eye(K))).max(initial=0.0)
    if off == 0.0 and belief.is_normal:
        pairs = zip(belief.mean, belief.variances, strict=True)
        return np.stack([independent_probabilities(mean, variances) for mean, variances in pairs])
    counts = np.zeros((runs, K))
    sizes = np.abs(belief.mean).max(axis=1) + 10.0 * np.sqrt(belief.variances.max(axis=1).clip(0.0))
    rounding = ROUNDING * sizes[:, None, None]
    block = max(1, _AT_ONCE // (runs * K))
    for start in range(0, draws, block):
        scores = belief.draw(streams, min(block, draws - start))  # (R, block, K)
        is_best = scores >= scores.max(axis=-1, keepdims=True) - rounding
        tied = is_best.sum(axis=-1, keepdims=True)
        counts += is_best.sum(axis=1) if tied.max() == 1 else (is_best / tied).sum(axis=1)
    return counts / draws


def are_best(scores: Array, chosen: IntArray) -> BoolArray:
    """Whether the chosen actions (n,) have the largest of their scores (n, K), up to rounding."""
    rounding = ROUNDING * np.abs(scores).max(axis=1)
    return np.asarray(scores[np.arange(len(chosen)), chosen] >= scores.max(axis=1) - rounding)


def independent_probabilities(mean: Array, variances: Array) -> Array:
    """Probability of every one of K independent normal numbers to be the largest.

    Parameters
    ----------
    mean, variances : (K,) moments; a variance may be 0.

    Returns
    -------
    (K,)
        ``integral of pdf_i(x) product over j of cdf_j(x)``, scaled to sum to 1.

    Notes
    -----
    Gauss-Legendre quadrature with 12 nodes between the points where some number is 9, 5, 3, 2, 1 or 0 deviations from
    its mean, so that a narrow number costs no accuracy. O(K^2), some 130 K nodes. Constants are given a deviation of
    1e-9 of the spread; tied constants share.

    Examples
    --------
    >>> independent_probabilities(np.array([0.0, 1.0]), np.array([0.5, 0.5])).round(6)
    array([0.158655, 0.841345])
    """
    std, size = np.sqrt(variances), float(np.abs(mean).max())
    spread = max(float(np.ptp(mean)), float(std.max()))
    if spread <= ROUNDING * size:  # constants that are all equal
        return np.full(len(mean), 1.0 / len(mean))
    mean, std = mean - mean.max(), np.maximum(std, 1e-9 * spread)
    floor = float((mean - 9 * std).max())  # the largest number is above this
    points = np.unique(np.concatenate([(mean[:, None] + std[:, None] * _CUTS).ravel(), [floor]]))
    points = points[points >= floor]
    half = np.diff(points) / 2
    x = ((points[:-1] + half)[:, None] + half[:, None] * _NODES).ravel()
    weights = (half[:, None] * _WEIGHTS).ravel()
    z = (x[:, None] - mean) / std  # (nodes, K)
    logs = log_ndtr(z)
    others = logs.sum(axis=1, keepdims=True) - logs
    density = np.exp(others - z * z / 2) / std
    found = weights @ density
    return np.asarray(found / found.sum())
