"""The shared part of expanded rewards' posteriors, from natural parameters; of one posterior, or of R at once.

The shared part is ``m = root z`` in the table's coordinates, ``z ~ N(0, I)`` before the evidence. What is known of it
is kept as the precision (..., r, r) and the natural mean (..., r) of ``z``.
"""

from __future__ import annotations

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.map_expansion import NormalPrior
from dts_gym.utils.arrays import Array, cholesky, eigh, lower_root, solve_lower


def about_root(message: Evidence, root: Array) -> Evidence:
    """What a message on ``m``, (..., d, d) and (..., d), says of ``z``: (..., r, r) and (..., r)."""
    return Evidence(root.mT @ message.G @ root, np.vecmat(message.h, root))


def moments_given(precision: Array, natural: Array, root: Array) -> tuple[Array, Array]:
    """Mean (..., d) of ``m`` and a root (..., d, r) of its covariance."""
    # With the precision L L' the covariance of m is (L^-1 R')' (L^-1 R'): one solve gives root and mean.
    half = solve_lower(cholesky(precision), np.concatenate([root.mT, natural[..., None]], axis=-1))
    found = half[..., :-1].mT  # (..., d, r)
    return np.matvec(found, half[..., -1]), found


def around_shared(precision: Array, natural: Array, root: Array) -> tuple[Array, Array]:
    """As `moments_given`, also where rounding has left a precision that is not positive definite."""
    values, vectors = eigh(precision)
    std = np.sqrt(np.maximum(values, 1.0))  # evidence never reduces precision
    turned = root @ vectors / std[..., None, :]
    return np.matvec(turned, np.vecmat(natural, vectors) / std), turned


def of_action(center: Array, basis: Array, inverse: Array, mean: Array, spread: Array) -> NormalPrior:
    """The distribution of an action's parameters, whose own part is ``N(0, I)`` in the table's coordinates.

    Parameters
    ----------
    center : (..., d), to be added to the table's parameters.
    basis, inverse : (..., d, d), as in `ActionTable`.
    mean, spread : (..., d) and (..., d, r), mean of the shared part and root of its covariance.
    """
    # In the table's coordinates the covariance is I + spread spread' = L L', with L' by QR of the two roots.
    d = center.shape[-1]
    roots = np.empty((*center.shape[:-1], d + spread.shape[-1], d))
    roots[..., :d, :], roots[..., d:, :] = np.eye(d), spread.mT
    L = lower_root(roots)
    return NormalPrior(center + np.matvec(basis, mean), basis @ L, solve_lower(L, inverse))
