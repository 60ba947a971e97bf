"""A linear chain collapsed into two levels: a part that all actions share, and a part of each action's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.utils.arrays import Array


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

    def marginal(self) -> tuple[Array, Array]:
        """Mean (d,) and covariance (d, d) of one action's parameters."""
        return self.mean, self.shared_cov + self.action_cov


def collapse(
    weights: Sequence[Array], covariances: Sequence[Array], offsets: Sequence[Array], branch: int
) -> TwoLevelPrior:
    """Collapse a chain of affine links into its two levels.

    Parameters
    ----------
    weights : L arrays (d, d); ``weights[ell - 1]`` is ``W_ell``.
    covariances : L + 1 arrays (d, d); ``covariances[ell - 1]`` is ``Sigma_ell``.
    offsets : L arrays (d,); ``offsets[ell - 1]`` is ``c_ell``.
    branch : levels above this one are shared by all actions, 0..L.

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
