"""Types of arrays, factors of small matrices, and roots of covariances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dgeqrf, dpotrf, dsyevd, dtrtrs

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


# A single small matrix is factored by a direct call of LAPACK, which takes a third of the time that NumPy takes.


def cholesky(matrix: Array) -> Array:
    """``L``, lower triangular with ``L L'`` the positive definite matrices (..., n, n); else LinAlgError."""
    if matrix.ndim > 2 or not matrix.size:
        return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
    L, failed = dpotrf(matrix, lower=1, clean=1)
    if failed:
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    return np.asarray(L)


def solve_lower(L: Array, right: Array) -> Array:
    """``L^-1 right`` of lower triangular ``L`` (..., n, n), for (..., n, k)."""
    if L.ndim > 2 or not right.size:
        return np.asarray(np.linalg.solve(L, right), dtype=np.float64)
    return np.asarray(dtrtrs(L, right, lower=1)[0])


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues (..., n), in increasing order, and eigenvectors (..., n, n) of symmetric matrices (..., n, n)."""
    if matrix.ndim > 2 or not matrix.size:
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors
    values, vectors, failed = dsyevd(matrix, lower=1)
    if failed:
        raise np.linalg.LinAlgError("Eigenvalues did not converge")
    return values, vectors


def lower_root(rows: Array) -> Array:
    """``L``, lower triangular with ``L L' = rows' rows``, for (..., m, n) with m at least n, by QR."""
    if rows.ndim > 2:
        return np.asarray(np.linalg.qr(rows, mode="r"), dtype=np.float64).mT
    n = rows.shape[1]
    return np.asarray(np.tri(n) * dgeqrf(rows)[0][:n].T)


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


def covariance_root(cov: Array) -> Array:
    """``R`` (..., d, d) with ``R R' = cov`` (..., d, d), by Cholesky, or by eigenvectors where it is not definite.

    By Cholesky it depends on the covariance without jumps, also where many directions are known alike.
    """
    try:
        return cholesky(cov)
    except np.linalg.LinAlgError:
        if cov.ndim > 2:  # the others' roots are as they would be alone
            return np.array([covariance_root(one) for one in cov.reshape(-1, *cov.shape[-2:])]).reshape(cov.shape)
        values, vectors = eigh(cov)
        return np.asarray(vectors * np.sqrt(values.clip(0.0)))


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
    grown = root.mT @ G @ root
    grown = (grown + grown.mT) / 2 + np.eye(root.shape[-1])
    try:
        L = cholesky(grown)
    except np.linalg.LinAlgError:  # rounding of evidence beyond 1e15 prior precisions; the truth is 1 at least
        if grown.ndim > 2:  # the others' roots are as they would be alone
            lead, (d, r) = grown.shape[:-2], root.shape[-2:]
            roots = np.broadcast_to(root, (*lead, d, r)).reshape(-1, d, r)
            every = zip(roots, np.broadcast_to(G, (*lead, d, d)).reshape(-1, d, d), strict=True)
            parts = [conditioned_root(*each) for each in every]
            F, L = (np.array([part[i] for part in parts]) for i in (0, 1))
            return F.reshape(*lead, d, r), L.reshape(*lead, r, r)
        values, vectors = eigh(grown)
        stds = np.sqrt(values.clip(1.0))
        turned, upper = np.linalg.qr((vectors * stds).T)
        signs = np.sign(np.diagonal(upper))
        return root @ ((vectors / stds) @ turned * signs), np.asarray(upper.T * signs)
    return solve_lower(L, root.mT).mT, L


def log_diagonal(L: Array) -> Array:
    """Half the log determinants of ``L L'``, of triangular ``L`` (..., r, r): (...)."""
    return np.asarray(np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(axis=-1))
