"""Weights of particles, and ancestors drawn by them."""

from __future__ import annotations

import numpy as np

from dts_gym.posteriors.chain.run_streams import Stream
from dts_gym.utils.arrays import Array, IntArray


def resample(log_weights: Array, rng: Stream) -> IntArray:
    """Ancestors of equally weighted particles, by systematic resampling.

    Parameters
    ----------
    log_weights : (n, P) log weights of n filters.
    rng : random generator, or those of many runs, which draws one uniform number for each filter.

    Returns
    -------
    (n, P)
        Indices, ascending in each row. Particle i appears ``P w_i`` times on average, in each row rounded up or down.

    Examples
    --------
    >>> resample(np.log([[0.5, 0.25, 0.25, 1e-300]]), np.random.default_rng(0)).tolist()
    [[0, 0, 1, 2]]
    """
    n, P = log_weights.shape
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    ends = np.ceil(P * weights.cumsum(axis=-1) - rng.random((n, 1))).clip(0, P).astype(np.int64)
    ends[:, -1] = P
    counts = ends.copy()
    counts[:, 1:] -= ends[:, :-1]
    return np.broadcast_to(np.arange(P), (n, P)).ravel().repeat(counts.ravel()).reshape(n, P)


def tempered(log_weights: Array, least: float) -> Array:
    """Log weights (..., P), those of each filter halved until its relative effective sample size is ``least`` or more.

    Particles of weight 0 stay so, and a filter with too few others is left as it is.

    Examples
    --------
    >>> tempered(np.array([0.0, 8.0]), 0.6)
    array([0., 2.])
    """
    many = np.isfinite(log_weights).mean(axis=-1) > least
    while (poor := many & (normalised(log_weights)[1] < least)).any():
        log_weights = np.where(poor[..., None], 0.5 * log_weights, log_weights)
    return log_weights


def normalised(log_weights: Array) -> tuple[Array, Array, Array]:
    """The weights scaled to sum to one, (..., P), their effective sample size relative to P, and log mean (...)."""
    largest = log_weights.max(axis=-1, keepdims=True)
    shifted: Array = log_weights - largest
    weights = np.exp(shifted)
    total = weights.sum(axis=-1)
    size = total * total / (weights.shape[-1] * np.vecdot(weights, weights))
    mean = largest[..., 0] + np.log(total / weights.shape[-1])
    return np.asarray(shifted - np.log(total)[..., None]), np.asarray(size), np.asarray(mean)
