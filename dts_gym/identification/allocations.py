"""Shares of a budget for every action, from the prior alone: optimal for an error bound, D-optimal, or by the prior.

A prior is a normal distribution of K scores, given by its mean and a root ``F`` (K, r) of its covariance. With shares
``w`` of n rounds the posterior covariance is ``V = F (I + (n / noise_std^2) F' diag(w) F)^-1 F'``, for any rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dts_gym.utils.arrays import Array, IntArray

_STEPS, _STARTS = 500, 20
_GAP = 1e-6  # relative duality gap at which shares are good enough
_EQUAL = 1e-12  # two scores are one where the variance of their difference is below this share of their variances


class Objective(NamedTuple):
    """A convex function of the shares: its value, and its gradient (K,)."""

    value: float
    gradient: Array


def posterior_cov(root: Array, shares: Array, budget: float, noise_std: float) -> Array:
    """Covariance (K, K) of the scores after ``budget`` rounds in these shares (K,).

    Examples
    --------
    >>> posterior_cov(np.eye(2), np.array([0.25, 0.75]), 4, 1.0).diagonal()
    array([0.5 , 0.25])
    """
    precision = np.eye(root.shape[1]) + (root.T * (budget / noise_std**2 * shares)) @ root
    half = np.linalg.solve(np.linalg.cholesky(precision), root.T)
    return np.asarray(half.T @ half)


def error_objective(mean: Array, root: Array, budget: float, noise_std: float) -> Callable[[Array], Objective]:
    """The bound on the probability of error that "PI-BAI-Opt" minimises, as a function of the shares.

    ``sum_{i<j} exp(-(mu_i - mu_j)^2 / (2 d0_ij)) sqrt(d_ij(w) / d0_ij)``, where ``d0`` and ``d(w)`` are the prior and
    posterior variances of the difference of two scores. It is convex in w. For independent actions it is the function
    of Nguyen et al. (2025). Pairs that are equal under the prior are left out.
    """
    first, second = np.triu_indices(len(mean), 1)
    prior = root @ root.T
    d0 = _differences(prior)[first, second]
    apart = d0 > _EQUAL * (prior.diagonal()[first] + prior.diagonal()[second])
    first, second, d0 = first[apart], second[apart], d0[apart]
    scale = np.exp(-((mean[first] - mean[second]) ** 2) / (2 * d0)) / np.sqrt(d0)
    rate = budget / noise_std**2

    def value(shares: Array) -> Objective:
        V = posterior_cov(root, shares, budget, noise_std)
        d = np.maximum(_differences(V)[first, second], 1e-300)
        terms = scale * np.sqrt(d)
        C = np.zeros_like(V)  # derivative of the value by d_ij
        C[first, second] = terms / (2 * d)
        C += C.T
        slopes = (V * (C.sum(axis=1)[:, None] * V - C @ V)).sum(axis=0)  # sum_{i<j} C_ij (V_ik - V_jk)^2
        return Objective(float(terms.sum()), -rate * slopes)

    return value


def information_objective(root: Array, budget: float, noise_std: float) -> Callable[[Array], Objective]:
    """Minus the information of the rewards about the scores, ``-log det(I + (n / noise_std^2) F' diag(w) F)``."""
    rate = budget / noise_std**2

    def value(shares: Array) -> Objective:
        precision = np.eye(root.shape[1]) + (root.T * (rate * shares)) @ root
        V = posterior_cov(root, shares, budget, noise_std)
        return Objective(-float(np.linalg.slogdet(precision)[1]), -rate * V.diagonal())

    return value


def least_shares(objective: Callable[[Array], Objective], num_actions: int) -> Array:
    """The shares (K,), 0 or more with sum 1, of the least value of a convex function.

    Raises
    ------
    ArithmeticError
        If the value is not within 1e-6 of the least one, relative to its size.

    Notes
    -----
    L-BFGS over K numbers of 0 or more that are the shares up to a factor, so that a share may end at 0 and come back
    from it. ``sum_k w_k g_k - min_k g_k`` with the gradient g bounds how far the value is above the least one, because
    the function is convex.
    """
    from scipy.optimize import minimize  # slow to import

    parts = np.ones(num_actions)
    size = max(abs(objective(parts / num_actions).value), 1e-300)

    def scaled(parts: Array) -> tuple[float, Array]:
        total = float(parts.sum())
        shares = parts / total
        value, gradient = objective(shares)
        return value / size, (gradient - shares @ gradient) / (total * size)

    options: Any = {"maxiter": _STEPS, "ftol": 1e-14, "gtol": 1e-9}
    for _ in range(_STARTS):
        found: Any = minimize(
            scaled, parts, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * num_actions, options=options
        )
        shares = np.asarray(found.x / found.x.sum())
        value, gradient = objective(shares)
        gap = float(shares @ gradient - gradient.min())
        if gap <= _GAP * max(abs(value), size):
            return shares
        parts = num_actions * shares  # a search that stalled goes on without its memory
    raise ArithmeticError(f"the shares must be optimal within {_GAP:g}, got a gap of {gap:.3g} at {value:.6g}")


def water_filling(variances: Array, budget: float, noise_std: float) -> Array:
    """The D-optimal shares for independent scores: ``w_i = max(nu - noise_std^2 / (n v_i), 0)`` with sum 1.

    Examples
    --------
    >>> water_filling(np.array([1.0, 1.0, 0.1]), 5, 1.0)
    array([0.5, 0.5, 0. ])
    """
    with np.errstate(divide="ignore"):
        ground = noise_std**2 / (budget * variances)  # (K,)
    order = np.sort(ground)
    levels = (1.0 + np.cumsum(order)) / np.arange(1, len(order) + 1)
    wet = np.flatnonzero(levels > order)
    if not len(wet):  # nothing is uncertain
        return np.full(len(variances), 1.0 / len(variances))
    return np.asarray((levels[wet[-1]] - ground).clip(0.0))


def rounded(shares: Array, budget: int) -> IntArray:
    """Whole numbers of rounds, with sum ``budget``: ``floor(n w_i)``, and the rest to the largest remainders.

    Of equal remainders the action of the lower number comes first.

    Examples
    --------
    >>> rounded(np.array([0.5, 0.3, 0.2]), 4)
    array([2, 1, 1])
    """
    exact = shares / shares.sum() * budget
    counts = np.floor(exact + 1e-9).astype(np.int64)
    rest = budget - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    return np.asarray(counts)


def _differences(cov: Array) -> Array:
    """Variances of the differences of two scores, (K, K)."""
    own = cov.diagonal()
    return np.asarray(own[:, None] + own - 2 * cov)
