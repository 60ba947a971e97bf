"""Vectors seen with errors of known covariance: the law of the clean ones, were it normal."""

from __future__ import annotations

import numpy as np

from dts_gym.utils.arrays import Array

# The least share of the seen variance that is held for the clean vectors', in every direction.
_LEAST_SHARE = 1e-3
_MAX_PASSES, _TOLERANCE = 300, 1e-7


def clean_moments(seen: Array, noise_cov: Array | None) -> tuple[Array, Array]:
    """Mean and covariance of the clean vectors, by maximum likelihood of normal ones.

    Parameters
    ----------
    seen : (N, d), each a clean vector plus an error.
    noise_cov : (N, d, d) or (d, d), the errors' covariances, PSD; None: no errors.

    Returns
    -------
    (d,), (d, d)
        A direction in which the errors explain all of the spread keeps a thousandth of it.

    Notes
    -----
    EM from the difference of the covariances. O(N d^3) a pass, O(N d^2) where all errors have one law. Consistent for
    the two moments whatever the clean vectors' law, with one law of errors; with several it weighs the better seen
    vectors more.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> mean, cov = clean_moments(rng.standard_normal((10_000, 1)) * np.sqrt(1.0 + 3.0), 3.0 * np.eye(1))
    >>> bool(abs(cov[0, 0] - 1.0) < 0.25)
    True
    """
    mean = seen.mean(axis=0)
    total = np.atleast_2d(np.cov(seen, rowvar=False, bias=True))
    if noise_cov is None:
        return mean, total
    average = noise_cov if noise_cov.ndim == 2 else noise_cov.mean(axis=0)
    cov = _floored(total - average, total)
    for _ in range(_MAX_PASSES):
        posterior_mean, posterior_cov = _posterior(seen, noise_cov, mean, cov)
        new_mean = posterior_mean.mean(axis=0)
        centred = posterior_mean - new_mean
        spread = posterior_cov if posterior_cov.ndim == 2 else posterior_cov.mean(axis=0)
        new_cov = _floored(centred.T @ centred / len(seen) + spread, total)
        moved = np.abs(new_cov - cov).max() / np.abs(total).max()
        mean, cov = new_mean, new_cov
        if moved < _TOLERANCE:
            break
    return mean, cov


def matched_shrinkage(seen: Array, noise_cov: Array) -> Array:
    """Seen vectors drawn in so far that, were all normal, they would have the clean ones' law.

    Parameters
    ----------
    seen : (N, d), of mean zero; the clean vectors have unit covariance.
    noise_cov : (N, d, d) or (d, d), of their errors.

    Returns
    -------
    (N, d)
        ``(I + noise_cov)^-1/2 seen``: of unit covariance whatever the clean vectors' law, and with less left of the
        errors than in the seen vectors or in draws from a normal posterior.

    Examples
    --------
    >>> matched_shrinkage(np.array([[2.0]]), 3.0 * np.eye(1))
    array([[1.]])
    """
    values, vectors = np.linalg.eigh(noise_cov)
    shrink = (vectors / np.sqrt(1.0 + values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    return np.asarray((shrink @ seen[..., None])[..., 0])


def _posterior(seen: Array, noise_cov: Array, mean: Array, cov: Array) -> tuple[Array, Array]:
    """Posterior means (N, d) and covariances, (N, d, d) or (d, d), of clean vectors ``N(mean, cov)``."""
    total = cov + noise_cov
    gain = np.linalg.solve(total, np.broadcast_to(cov, total.shape))  # total^-1 cov
    means = mean + ((seen - mean)[..., None, :] @ gain)[..., 0, :]
    covs = cov - cov @ gain
    return means, (covs + np.swapaxes(covs, -1, -2)) / 2


def _floored(cov: Array, total: Array) -> Array:
    """``cov`` with at least a thousandth of ``total`` in every direction."""
    chol = np.linalg.cholesky(total)
    half = np.linalg.solve(chol, np.linalg.solve(chol, cov).T)
    values, vectors = np.linalg.eigh((half + half.T) / 2)
    root = chol @ vectors * np.sqrt(values.clip(_LEAST_SHARE))
    return np.asarray(root @ root.T)
