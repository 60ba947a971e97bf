"""Types of arrays, and roots of covariances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def factor(cov: Array) -> Array:
    """Return ``R`` (d, r) with ``R R' = cov``, ``r`` the rank; ``cov`` may be singular.

    Notes
    -----
    Eigenvalues of the correlation matrix below 1e-14 of the largest are rounding errors and dropped; so the units of
    the coordinates do not matter. The cost is O(d^3).
    """
    return factor_and_inverse(cov)[0]


def factor_and_inverse(cov: Array) -> tuple[Array, Array]:
    """Return ``R`` (d, r) as `factor` does, and ``L`` (r, d) with ``L R = I``, at little more cost."""
    std = np.sqrt(np.diagonal(cov).clip(0.0))
    unit = np.where(std > 0, std, 1.0)
    values, vectors = np.linalg.eigh(cov / np.outer(unit, unit))
    keep = values > 1e-14 * max(float(values[-1]), 0.0)
    vectors, roots = vectors[:, keep], np.sqrt(values[keep])
    return np.ascontiguousarray(unit[:, None] * vectors * roots), (vectors / roots).T / unit


def conditioned_root(root: Array, G: Array) -> tuple[Array, Array]:
    """A root of a normal distribution's covariance after evidence is added to it.

    Parameters
    ----------
    root : (..., d, r), ``R`` with ``R R'`` the covariance before; its rank may be below d.
    G : (..., d, d) PSD, precision of the evidence; may be singular.

    Returns
    -------
    (..., d, r), (..., r, r)
        ``F`` with ``F F' = R (I + R'GR)^-1 R'``, the covariance after, and the Cholesky factor ``L``, lower triangular
        with ``L L' = I + R'GR`` and ``F = R L^-T``.

    Notes
    -----
    Exact. Unlike a root by eigenvectors it depends on the evidence without jumps, also where many directions are known
    alike. Rounding cannot make the covariance indefinite. O(d^3) per leading index.
    """
    grown = np.swapaxes(root, -1, -2) @ G @ root
    grown = (grown + np.swapaxes(grown, -1, -2)) / 2 + np.eye(root.shape[-1])
    try:
        L = np.linalg.cholesky(grown)
    except np.linalg.LinAlgError:  # rounding of evidence beyond 1e15 prior precisions; the truth is 1 at least
        if grown.ndim > 2:  # the others' roots are as they would be alone
            lead, (d, r) = grown.shape[:-2], root.shape[-2:]
            roots = np.broadcast_to(root, (*lead, d, r)).reshape(-1, d, r)
            every = zip(roots, np.broadcast_to(G, (*lead, d, d)).reshape(-1, d, d), strict=True)
            F, L = map(np.stack, zip(*(conditioned_root(*each) for each in every), strict=True))
            return F.reshape(*lead, d, r), L.reshape(*lead, r, r)
        values, vectors = np.linalg.eigh(grown)
        stds = np.sqrt(values.clip(1.0))
        turned, upper = np.linalg.qr((vectors * stds).T)
        signs = np.sign(np.diagonal(upper))
        return root @ ((vectors / stds) @ turned * signs), np.asarray(upper.T * signs)
    return np.swapaxes(np.linalg.solve(L, np.swapaxes(root, -1, -2)), -1, -2), np.asarray(L)


def log_diagonal(L: Array) -> Array:
    """Half the log determinants of ``L L'``, of triangular ``L`` (..., r, r): (...)."""
    return np.asarray(np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(axis=-1))
