"""Evidence about a vector, and how it passes a noise or a link. Small pure functions.

Evidence about a node ``v`` is kept in natural form, ``exp(-v'Gv/2 + h'v)``, defined also where there is no data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg

from dts_gym.utils.arrays import Array, conditioned_root, eigh, factor


class Evidence(NamedTuple):
    """``exp(-v'Gv/2 + h'v)`` about a node: ``G`` (..., d, d), ``h`` (..., d)."""

    G: Array
    h: Array


def through_noise(G: Array, h: Array, cov: Array) -> Evidence:
    r"""Evidence on a node's mean, given evidence on the node.

    A node is ``N(m, cov)`` around its mean ``m``; data say ``exp(-v'Gv/2 + h'v)`` about the node ``v``.
    Integrating ``v`` out leaves the same form in ``m``.

    Parameters
    ----------
    G : (..., d, d) precision of the evidence, PSD, may be singular (no data: zeros).
    h : (..., d) its natural mean.
    cov : (d, d) PSD noise of the node, may be zero.

    Returns
    -------
    Evidence
        (..., d, d) and (..., d): ``(I + G cov)^-1 G`` (symmetrised) and ``(I + G cov)^-1 h``.

    Notes
    -----
    Exact. O(d^3) per leading index. Equals the deck's ``P - P (P + G)^-1 P`` with ``P = cov^-1``,
    without inverting ``cov``. Rounding is that of a solve with ``I + G cov``: about ``eps cond(I + G cov)``.

    Examples
    --------
    >>> through_noise(np.array([[1.0]]), np.array([2.0]), np.array([[1.0]]))
    Evidence(G=array([[0.5]]), h=array([1.]))
    """
    d = cov.shape[-1]
    solved = np.linalg.solve(np.eye(d) + G @ cov, np.concatenate([G, h[..., None]], axis=-1))
    gamma = solved[..., :d]
    return Evidence((gamma + np.swapaxes(gamma, -1, -2)) / 2, solved[..., d])


def past_own_noise(G: Array, h: Array, r: int) -> tuple[Evidence, Array]:
    """Evidence past ``N``, the identity in the first r coordinates and else zero; and ``N`` less its precision.

    Parameters
    ----------
    G, h : (..., d, d) PSD and (..., d), the evidence.
    r : number of coordinates with noise.

    Returns
    -------
    Evidence, (..., d, d)
        ``Gamma = (I + G N)^-1 G``, PSD however large ``G`` is, with ``(I + G N)^-1 h``; and ``N - Gamma``, computed by
        itself: as a difference it would lose the digits of what is left.

    Notes
    -----
    Exact. O(d^3) per leading index.
    """
    own = G[..., :r, :r]
    values, vectors = eigh((own + own.mT) / 2)
    values = np.maximum(values, 0.0)[..., None, :]
    known = vectors / (1.0 + values)
    inverse = known @ vectors.mT  # (I + G_rr)^-1
    beta, gamma, left = np.matvec(inverse, h[..., :r]), (known * values) @ vectors.mT, inverse
    if r < h.shape[-1]:
        crossing = G[..., r:, :r]
        solved = inverse @ crossing.mT
        beta = np.concatenate([beta, h[..., r:] - np.matvec(crossing, beta)], axis=-1)
        rest = G[..., r:, r:] - crossing @ solved
        beside = np.concatenate([solved.mT, rest], axis=-1)
        gamma = np.concatenate([np.concatenate([gamma, solved], axis=-1), beside], axis=-2)
        left = np.concatenate([np.concatenate([inverse, -solved], axis=-1), -beside], axis=-2)
    return Evidence((gamma + gamma.mT) / 2, beta), (left + left.mT) / 2


def through_link(message: Evidence, weight: Array, offset: Array) -> Evidence:
    """Evidence on ``psi``, given evidence on ``weight psi + offset``.

    Parameters
    ----------
    message : evidence on the link's value.
    weight, offset : (..., d, d) and (..., d), the affine map (the link itself, or its surrogate).

    Returns
    -------
    Evidence
        ``(A' Gamma A, A' (beta - Gamma c))``. Exact for the map given.
    """
    pulled = message.h - matvec(message.G, offset)
    transposed = np.swapaxes(weight, -1, -2)
    return Evidence(transposed @ message.G @ weight, matvec(transposed, pulled))


def condition(mean: Array, evidence: Evidence, cov: Array) -> tuple[Array, Array]:
    """Moments of a node ``N(mean, cov)`` given evidence on it.

    Parameters
    ----------
    mean : (..., d) mean of the node.
    evidence : evidence on the node.
    cov : (d, d) PSD covariance of the node, may be singular.

    Returns
    -------
    (..., d), (..., d, r)
        Mean, and a factor ``F`` with ``F F'`` the covariance; ``r`` is the rank of ``cov``.

    Notes
    -----
    Exact, deck: action posterior; see `conditioned_root`. O(d^3) per leading index.
    """
    F, _ = conditioned_root(factor(cov), evidence.G)
    # The mean moves by F F' (h - G mean).
    pull = evidence.h - (evidence.G @ mean[..., None])[..., 0]
    moved = (F @ (np.swapaxes(F, -1, -2) @ pull[..., None]))[..., 0]
    return mean + moved, F


def learn(mean: Array, root: Array, reach: Array, residual: Array | float, variance: Array | float) -> None:
    """Condition ``v = mean + root eps``, ``eps ~ N(0, I)``, on one scalar observation of it, in place.

    Parameters
    ----------
    mean : (D,) mean of ``v``; (..., D) of as many vectors, each with an observation.
    root : (..., D, n) square root of the covariance ``root root'``.
    reach : (..., n) ``root' x`` for the observation ``y ~ N(x'v, variance)``.
    residual : (...) ``y - x' mean``.
    variance : (...) variance of the observation's noise, positive.

    Notes
    -----
    Exact: Potter's square-root filter. The covariance stays PSD, whatever the rounding. O(n D).

    Source: Bierman, "Factorization Methods for Discrete Sequential Estimation" (1977), chapter II.
    """
    total = variance + np.vecdot(reach, reach)
    gain = np.matvec(root, reach) / total[..., None]
    mean += gain * np.asarray(residual)[..., None]
    root -= gain[..., :, None] * (reach / (1.0 + np.sqrt(variance / total))[..., None])[..., None, :]


def learn_all(mean: Array, root: Array, reach: Array, residuals: Array, variances: Array) -> None:
    """As `learn`, on n scalar observations with independent noise, in one factorisation.

    Parameters
    ----------
    mean, root : (D,) and (D, r), as in `learn`; changed in place.
    reach : (n, r), a row for each observation.
    residuals, variances : (n,), one for each observation.

    Notes
    -----
    Exact, in square-root form: ``R' R = I + sum_i reach_i reach_i' / variance_i`` by QR, and the root is multiplied by
    ``R^-1``. Rows are sorted by their norms and columns are pivoted, so that rounding is small in every row,
    the prior's too, however precise some of the observations are. O(n r^2 + D r^2).

    Source: Cox and Higham, "Stability of Householder QR factorization for weighted least squares problems" (1998).
    """
    std = np.sqrt(variances)
    rows = np.vstack([reach / std[:, None], np.eye(root.shape[1])])  # (n + r, r)
    values = np.concatenate([residuals / std, np.zeros(root.shape[1])])
    order = np.argsort(-np.einsum("ij,ij->i", rows, rows), kind="stable")
    moved, R, pivots = scipy.linalg.qr_multiply(rows[order], values[order], mode="right", pivoting=True)
    root[:] = scipy.linalg.solve_triangular(R, root[:, pivots].T, trans="T").T
    mean += root @ moved


def log_evidence(evidence: Evidence, v: Array) -> Array:
    """``-v'Gv/2 + h'v``: ``v`` (..., P, d), evidence (..., d, d) and (..., d) -> (..., P)."""
    return np.asarray(np.vecdot(evidence.h[..., None, :] - 0.5 * (v @ evidence.G), v))


def matvec(matrix: Array, vector: Array) -> Array:
    return np.asarray((matrix @ vector[..., None])[..., 0])
