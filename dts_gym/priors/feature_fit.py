"""The scales of the effects of items' features, by maximum marginal likelihood."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from dts_gym.utils.arrays import Array

_GRID = 121  # values of the features' scale at which the likelihood is looked at before the best one is refined
_ENDS = 1e4  # scales from this much below 1 / the largest singular value of the features to this much above the least


class FeatureFit(NamedTuple):
    """What maximises the marginal likelihood.

    Attributes
    ----------
    intercept_scale, feature_scale : standard deviations of the effects, in units of the rows' own deviations.
    row_cov : (d, d) covariance of a row around its mean given the effects.
    """

    intercept_scale: float
    feature_scale: float
    row_cov: Array


def fit_scales(theta: Array, features: Array) -> FeatureFit:
    r"""Fit rows ``theta_n ~ N(B (1, z_n), S)`` with ``B ~ MN(0, S, diag(tau_0^2, tau^2, ..., tau^2))``.

    Parameters
    ----------
    theta : (N, d) rows, whose covariance is not singular.
    features : (N, p) features ``z``, of mean 0.

    Returns
    -------
    FeatureFit
        The maximum over ``tau_0``, ``tau`` and ``S`` of the density of ``theta``, in which ``B`` is integrated out.

    Notes
    -----
    Exact but for the search over ``tau``, on a grid whose best point is refined. Since the features have mean 0, the
    intercept is orthogonal to them: with ``A = Theta_c'(I + tau^2 Z Z')^-1 Theta_c`` of the centred rows, ``m`` their
    mean and ``c = 1 / (1 + N tau_0^2)``, the density is largest at ``S = (A + c N m m') / N``, where it is
    ``d/2 log c - d/2 log|I + tau^2 Z Z'| - N/2 log|S|`` up to a constant, and of that the maximum over ``c`` is
    ``min(1, d / ((N - d) N m'A^-1 m))``. Where the density grows to the end of the grid, the features explain every
    row, and a UserWarning says so. O(N p min(N, p) + r d^2 + d^3) with r the rank of Z, the last two for each
    ``tau``.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    profile = _Profile(theta, features)
    if not profile.squares.size:
        return profile.fit(0.0)
    roots = np.sqrt(profile.squares)
    grid = np.linspace(np.log(1 / (_ENDS * roots.max())), np.log(_ENDS / roots.min()), _GRID)
    values = [profile.value(float(np.exp(at))) for at in grid]
    best = int(np.argmax(values))
    ends = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    found = minimize_scalar(
        lambda at: -profile.value(float(np.exp(at))), bounds=ends, method="bounded", options={"xatol": 1e-9}
    )
    scale = float(np.exp(found.x))
    if best == _GRID - 1:
        warnings.warn(
            f"item_features explain all of theta: {profile.squares.size} independent features of {len(theta)} items "
            "leave nothing to an item's own part, so action_cov is about 0; pass more items or fewer features",
            stacklevel=3,
        )
    return profile.fit(scale if profile.value(scale) > profile.value(0.0) else 0.0)


class _Profile:
    """The log marginal likelihood as a function of the features' scale alone."""

    def __init__(self, theta: Array, features: Array) -> None:
        self.N, self.d = theta.shape
        self.mean = theta.mean(axis=0)
        centred = theta - self.mean
        left, roots, _ = np.linalg.svd(features, full_matrices=False)
        kept = roots > 1e-10 * roots.max(initial=0.0)
        self.squares = roots[kept] ** 2  # (r,)
        self.inside = left[:, kept].T @ centred  # (r, d), coordinates in the span of the features
        rest = centred - left[:, kept] @ self.inside
        self.outside = rest.T @ rest

    def _parts(self, scale: float) -> tuple[Array, float, float]:
        """The matrix ``A``, the best ``c``, and the logarithm of the likelihood with both."""
        grown = 1.0 + scale**2 * self.squares
        A = self.outside + self.inside.T @ (self.inside / grown[:, None])
        excess = self.N * float(self.mean @ np.linalg.solve(A, self.mean))
        c = min(1.0, self.d / max((self.N - self.d) * excess, 1e-300))
        logs = self.d * (np.log(c) - np.log(grown).sum())
        value = logs - self.N * (np.linalg.slogdet(A / self.N)[1] + np.log1p(c * excess))
        return A, c, float(value) / 2

    def value(self, scale: float) -> float:
        return self._parts(scale)[2]

    def fit(self, scale: float) -> FeatureFit:
        A, c, _ = self._parts(scale)
        S = A / self.N + c * np.outer(self.mean, self.mean)
        return FeatureFit(float(np.sqrt((1 / c - 1) / self.N)), scale, (S + S.T) / 2)
