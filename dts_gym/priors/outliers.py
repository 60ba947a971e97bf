"""Vectors that a prior should not be fitted to."""

from __future__ import annotations

import numpy as np

from dts_gym.utils.arrays import Array, BoolArray

# Farther than this many deviations of the others a vector is an outlier, if at most this share is so far: more are a
# part of the shape, a small cluster for one.
_FAR, _MOST = 8.0, 0.05
_PASSES = 20


def outliers(theta: Array) -> BoolArray:
    """Which vectors (N, d) lie so far from the others that moments of all would describe none.

    Returns
    -------
    (N,)
        Those at more than 8 standard deviations of the others, in the direction in which they are; none where they
        are more than a twentieth.

    Notes
    -----
    From medians and median absolute deviations, then again and again by the mean and covariance of what is left, until
    nothing changes. O(N d^2) a pass. Normal vectors are found to have outliers once in 10^10 (for N = 10^4).

    Examples
    --------
    >>> theta = np.random.default_rng(0).standard_normal((200, 2))
    >>> theta[7] = [40.0, -30.0]
    >>> np.flatnonzero(outliers(theta))
    array([7])
    """
    N, d = theta.shape
    center = np.median(theta, axis=0)
    unit = np.median(np.abs(theta - center), axis=0) / 0.6745
    if not unit.all():  # most values are alike: they say nothing of a spread
        return np.zeros(N, dtype=bool)
    out = (np.abs(theta - center) > _FAR * unit).any(axis=1)
    for _ in range(_PASSES):
        if out.mean() > _MOST or N - out.sum() < 2 * (d + 1):
            return np.zeros(N, dtype=bool)
        rest = theta[~out] / unit
        values, vectors = np.linalg.eigh(np.cov(rest, rowvar=False).reshape(d, d))
        white = (theta / unit - rest.mean(axis=0)) @ vectors / np.sqrt(values.clip(1e-12 * values[-1]))
        # In many directions a normal vector is far in the sum of squares: its length is about sqrt(d).
        found = np.linalg.norm(white, axis=1) > np.sqrt(d - 1.0) + _FAR
        if (found == out).all():
            break
        out = found
    return np.asarray(out)


def residual_outliers(theta: Array, weights: Array) -> BoolArray:
    """Which vectors (N, d) are `outliers` in what the least squares of the others leave of them, (N,).

    ``weights`` (N, J) are the regressors; where they are more than half as many as the vectors, none is.

    Examples
    --------
    >>> z = np.random.default_rng(0).standard_normal((200, 2))
    >>> theta = 50 * z + np.random.default_rng(1).standard_normal((200, 2))
    >>> theta[7] += [30.0, -30.0]
    >>> outliers(theta).any(), np.flatnonzero(residual_outliers(theta, z))
    (np.False_, array([7]))
    """
    out = np.zeros(len(theta), dtype=bool)
    if len(weights) < 2 * weights.shape[1]:
        return out
    for _ in range(_PASSES):
        effects = np.linalg.lstsq(weights[~out], theta[~out])[0]
        found = outliers(theta - weights @ effects)
        if (found == out).all():
            break
        out = found
    return out


def outlier_warning(name: str, out: BoolArray) -> str:
    """What to tell who passed the vectors ``name``, of which ``out`` (N,) were left out."""
    return (
        f"{name} has {out.sum()} of {len(out)} vectors more than 8 standard deviations of the others away from them, "
        f"row {int(out.argmax())} for one: the prior is learned without them, for moments that count them would "
        "describe neither. Where they belong to the items, transform the coordinates in which they are far, by "
        "logarithms or ranks, before the fit"
    )
