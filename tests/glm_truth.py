"""Fits of one action's rewards from nothing, with checked arguments: the truth for the table of played actions."""

from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.glm.expansion import expand, fit_map, fit_mle, refuse_overflow
from dts_gym.utils.arrays import factor
from dts_gym.utils.validation import covariance, finite_array, positive


class MLE(NamedTuple):
    """A maximum-likelihood estimate, ``(B_hat, G_hat)`` in the deck.

    ``point`` (d,) is the ridge estimate where there is none, ``precision`` (d, d) is without the ridge.
    """

    point: np.ndarray
    precision: np.ndarray
    exists: bool


def map_estimate(model, X, y, mean, cov, start=None):
    """The most probable parameters (d,) given rewards, under the prior ``N(mean, cov)``; None starts at the mean.

    Where ``cov`` is singular the estimate stays in ``mean + range(cov)``. ValueError where a shape does not match, a
    value is not finite, ``cov`` is not PSD or a product overflows.
    """
    X, y = _rounds(X, y)
    d = X.shape[1]
    mean = finite_array("mean", mean, (d,))
    root = factor(covariance("cov", cov, d))
    z = np.zeros(root.shape[1])
    if start is not None:
        z = np.linalg.pinv(root) @ (finite_array("start", start, (d,)) - mean)
    with np.errstate(over="ignore", invalid="ignore"):
        point = fit_map(model, X, y, mean, root, z)
        refuse_overflow(point, expand(model, X, y, point))
    return point


def mle_estimate(model, X, y, ridge=0.01, start=None):
    """The maximum-likelihood estimate, or a ridge estimate where there is none; ValueErrors as `map_estimate`."""
    X, y = _rounds(X, y)
    d = X.shape[1]
    begin = np.zeros(d) if start is None else finite_array("start", start, (d,))
    strength = positive("ridge", ridge)
    with np.errstate(over="ignore", invalid="ignore"):
        point, exists = fit_mle(model, X, y, strength, begin)
        evidence = expand(model, X, y, point)
    refuse_overflow(point, evidence)
    return MLE(point, evidence.G, exists)


def _rounds(X, y):
    """Contexts and rewards, checked. Products of contexts are looked at first: a fit may or may not meet them."""
    X = finite_array("X", X, (None, None))
    y = finite_array("y", y, (len(X),))
    with np.errstate(over="ignore"):
        norms = (X * X).sum(axis=1)
    if not np.isfinite(norms).all():
        raise ValueError(f"contexts must have finite products, got {X[~np.isfinite(norms)][0]}")
    return X, y
