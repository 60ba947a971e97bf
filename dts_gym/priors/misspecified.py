"""Misspecified priors: an agent's prior where the truth is another chain."""

from __future__ import annotations

import numpy as np

from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.priors.prior import Prior
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import LARGEST, number, positive

_WIDTH = 0.5  # width of the interval that errors are drawn from
_LEAST = 0.01  # least eigenvalue of a misspecified covariance


def misspecified_prior(prior: Prior, prior_error: float, *, seed: int = 0) -> Prior:
    """Return a chain whose weights and covariances have errors with entries uniform on ``[v, v + 0.5]``.

    Parameters
    ----------
    prior : the true chain, of affine links.
    prior_error : v, the least error of an entry; 0 means no error and returns ``prior`` itself.
    seed : seed for the errors.

    Raises
    ------
    ValueError
        If ``prior_error`` is negative, or above 0 where a link is not affine.

    Notes
    -----
    Errors of a covariance are made symmetric, ``(E + E') / 2``; eigenvalues of the sum below 0.01 are raised to it, so
    that it stays positive definite.

    Examples
    --------
    >>> chain = LinearDiffusionPrior([np.zeros((2, 2))], [np.eye(2)] * 2)
    >>> W = misspecified_prior(chain, 1.0).links[0].jacobian(np.zeros(2))
    >>> bool(((W >= 1.0) & (W <= 1.5)).all())
    True
    """
    if number("prior_error", prior_error) == 0:
        return prior
    least, chain = positive("prior_error", prior_error, LARGEST), as_linear(prior)
    if chain is None:
        raise ValueError(f"prior_error must be 0 for a prior whose links are not affine, got {prior_error!r}")
    rng, d = stream(seed, "misspecification"), chain.dim
    weights = [W + rng.uniform(least, least + _WIDTH, (d, d)) for W in chain.weights]
    covariances = [_definite(S + _symmetric(rng.uniform(least, least + _WIDTH, (d, d)))) for S in chain.covariances]
    return LinearDiffusionPrior(weights, covariances, chain.offsets, chain.branch)


def rescaled_prior(prior: Prior, prior_scale: float) -> Prior:
    """Return a chain whose covariances are all multiplied by one number, as then is every variance of its parameters.

    Parameters
    ----------
    prior : the true chain, of affine links.
    prior_scale : the misspecified variance divided by the true one; 1 means no error and returns ``prior`` itself.

    Raises
    ------
    ValueError
        If ``prior_scale`` is not positive, or is not 1 where a link is not affine.

    Examples
    --------
    >>> chain = LinearDiffusionPrior([np.eye(2)], [np.eye(2)] * 2)
    >>> rescaled_prior(chain, 4.0).covariances[0].tolist()
    [[4.0, 0.0], [0.0, 4.0]]
    """
    scale = positive("prior_scale", prior_scale, LARGEST)
    if scale == 1:
        return prior
    chain = as_linear(prior)
    if chain is None:
        raise ValueError(f"prior_scale must be 1 for a prior whose links are not affine, got {prior_scale!r}")
    return LinearDiffusionPrior(
        chain.weights, [scale * covariance for covariance in chain.covariances], chain.offsets, chain.branch
    )


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.T) / 2


def _definite(matrix: Array) -> Array:
    """The nearest symmetric matrix whose eigenvalues are at least 0.01; ``matrix`` itself where they are."""
    values, vectors = np.linalg.eigh(matrix)
    if values[0] >= _LEAST:
        return matrix
    return _symmetric((vectors * np.maximum(values, _LEAST)) @ vectors.T)
