"""Whether a learned prior has the quantiles of the vectors that it was learned from."""

from __future__ import annotations

import numpy as np

from dts_gym.utils.arrays import Array

# A two-sample Kolmogorov-Smirnov distance is larger by chance once in 10^4.
_CHANCE = 2.23
_DISTANCE = 0.015  # what more is no cause to warn


def quantile_distances(draws: Array, vectors: Array) -> Array:
    """Kolmogorov-Smirnov distances (d,) of draws (m, d) to vectors (n, d): the largest differences of shares below.

    Examples
    --------
    >>> quantile_distances(np.array([[0.0], [1.0]]), np.array([[0.5], [2.0], [3.0], [4.0]]))
    array([0.75])
    """
    distances = np.empty(draws.shape[1])
    for j, (left, right) in enumerate(zip(np.sort(draws.T), np.sort(vectors.T), strict=True)):
        every = np.concatenate([left, right])
        below = [np.searchsorted(part, every, side="right") / len(part) for part in (left, right)]
        distances[j] = np.abs(below[0] - below[1]).max()
    return distances


def drawn_errors(noise_cov: Array, size: int, rng: np.random.Generator) -> Array:
    """Errors (size, d) of covariance ``noise_cov`` (d, d), or of covariances drawn from (N, d, d)."""
    covs = noise_cov[None] if noise_cov.ndim == 2 else noise_cov
    values, axes = np.linalg.eigh(covs[rng.integers(len(covs), size=size)])
    noise = np.sqrt(values.clip(0.0)) * rng.standard_normal((size, covs.shape[-1]))
    return np.asarray((axes @ noise[..., None])[..., 0])


def quantile_tolerance(num_draws: int, num_vectors: int) -> float:
    """The distance that right draws exceed by chance once in 10^4."""
    return float(_CHANCE * np.sqrt(1.0 / num_draws + 1.0 / num_vectors))


def quantile_warning(draws: Array, vectors: Array) -> str | None:
    """What to tell who learned a prior, of its draws and the vectors that it was learned from; None: nothing."""
    distances = quantile_distances(draws, vectors)
    worst = int(distances.argmax())
    if distances[worst] <= _DISTANCE + quantile_tolerance(len(draws), len(vectors)):
        return None
    return (
        f"the prior's quantiles are not the vectors': in coordinate {worst} the shares below a value differ by up to "
        f"{distances[worst]:.2f}, though mean and covariance agree. Train longer (max_steps), with a larger network "
        "(hidden, blocks) or more reverse steps (depth), and look at dts_gym.diagnostics.prior_report.prior_report"
    )
