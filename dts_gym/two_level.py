"""The two-level Gaussian posterior to which every linear chain collapses: exact, O(d^2) a round.

A chain of affine links with Gaussian noise is, action by action, ``theta_a = m + delta_a`` with
``m ~ N(m0, C)`` shared by all actions and ``delta_a ~ N(0, S)`` of its own. dTS, HierTS, MarginalLinTS,
LinTS and LinUCB are this one posterior with different ``(m0, C, S)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.arrays import Array


class TwoLevelPrior(NamedTuple):
    """``theta_a = m + delta_a``, ``m ~ N(mean, shared_cov)``, ``delta_a ~ N(0, action_cov)``.

    Attributes
    ----------
    mean : (d,) mean of the shared part, ``m0``.
    shared_cov : (d, d) PSD, ``C``; zero where actions are independent.
    action_cov : (d, d) PSD, ``S``; may be singular.
    """

    mean: Array
    shared_cov: Array
    action_cov: Array


def collapse(
    weights: Sequence[Array], covariances: Sequence[Array], offsets: Sequence[Array], branch: int
) -> TwoLevelPrior:
    """Collapse a chain of affine links into its two levels.

    Parameters
    ----------
    weights : L arrays (d, d); ``weights[ell - 1]`` is ``W_ell``.
    covariances : L + 1 arrays (d, d); ``covariances[ell - 1]`` is ``Sigma_ell``.
    offsets : L arrays (d,); ``offsets[ell - 1]`` is ``c_ell``.
    branch : levels above it are shared by all actions, 0..L.

    Returns
    -------
    TwoLevelPrior

    Notes
    -----
    Exact. With ``P_ell = W_1 ... W_ell``: ``S = sum_{ell <= branch + 1} P_{ell-1} Sigma_ell P_{ell-1}'``,
    ``C`` the rest of that sum, ``m0 = sum_ell P_{ell-1} c_ell``. O(L d^3), once.
    """
    d = covariances[0].shape[0]
    mean, shared, own = np.zeros(d), np.zeros((d, d)), np.zeros((d, d))
    product = np.eye(d)
    for level, cov in enumerate(covariances, start=1):
        term = product @ cov @ product.T
        if level <= branch + 1:
            own += term
        else:
            shared += term
        if level <= len(weights):
            mean += product @ offsets[level - 1]
            product = product @ weights[level - 1]
    return TwoLevelPrior(mean, (shared + shared.T) / 2, (own + own.T) / 2)


def through_noise(G: Array, h: Array, cov: Array) -> tuple[Array, Array]:
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
    (..., d, d), (..., d)
        ``(I + G cov)^-1 G`` (symmetrised) and ``(I + G cov)^-1 h``.

    Notes
    -----
    Exact. O(d^3) per leading index. Equals the deck's ``P - P (P + G)^-1 P`` with ``P = cov^-1``,
    without inverting ``cov``.

    Examples
    --------
    >>> through_noise(np.array([[1.0]]), np.array([2.0]), np.array([[1.0]]))
    (array([[0.5]]), array([1.]))
    """
    d = cov.shape[-1]
    solved = np.linalg.solve(np.eye(d) + G @ cov, np.concatenate([G, h[..., None]], axis=-1))
    gamma = solved[..., :d]
    return (gamma + np.swapaxes(gamma, -1, -2)) / 2, solved[..., d]
