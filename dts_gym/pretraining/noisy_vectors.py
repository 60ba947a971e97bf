"""Vectors observed with errors of known covariance: the distribution of the clean ones if it were normal."""

from __future__ import annotations

import numpy as np

from dts_gym.utils.arrays import Array

# The least share of the observed variance that is attributed to the clean vectors, in every direction.
_LEAST_SHARE = 1e-3
_MAX_PASSES, _TOLERANCE = 300, 1e-7


def clean_moments(seen: Array, noise_cov: Array | None) -> tuple[Array, Array]:
    """Mean and covariance of the clean vectors, by maximum likelihood under a normal distribution.

    Parameters
    ----------
    seen : (N, d) observed vectors, each a clean vector plus an error.
    noise_cov : (N, d, d) or (d, d) covariances of the errors, PSD; None: no errors.

    Returns
    -------
    (d,), (d, d)
        The mean and the covariance; in a direction in which the errors explain all of the spread, the clean vectors
        keep a thousandth of it.

    Notes
    -----
    EM starts from the difference of the covariances. A pass costs O(N d^3), or O(N d^2) where all errors have the same
    covariance. With one covariance of errors the two moments are consistent whatever the clean vectors' distribution;
    with several, more precisely observed vectors have more weight.

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
    """Shrink observed vectors so that they have the clean ones' distribution, if all are normal.

    Parameters
    ----------
    seen : (N, d) observed vectors, of mean zero; the clean vectors have unit covariance.
    noise_cov : (N, d, d) or (d, d) covariances of the errors.

    Returns
    -------
    (N, d)
        ``(I + noise_cov)^-1/2 seen``, which has unit covariance whatever the clean vectors' distribution, and contains
        less of the errors than the observed vectors or draws from a normal posterior.

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
