"""Moments of all actions' parameters without their covariances across actions, and of sums over actions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import Evidence, condition, through_noise
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import Array, conditioned_root, covariance_root, factor

if TYPE_CHECKING:
    from dts_gym.posteriors.action_posterior import ActionPosterior


class ActionMoments(NamedTuple):
    """The posterior ``theta_a = mean_a + spread_a z + noise_a``, ``z ~ N(0, I)`` common to all actions.

    Attributes
    ----------
    mean : (K, d).
    spread : (K, d, r), how the parameters follow the shared part, in its deviations; r = 0 where nothing is shared.
    own : (K, d, d), covariance of ``noise_a``: of an action's parameters given the shared part.
    """

    mean: Array
    spread: Array
    own: Array

    def of_total(self, directions: Array) -> tuple[float, float]:
        """Posterior mean and variance of ``sum_a u_a' theta_a``.

        Parameters
        ----------
        directions : (K, d), ``u_a``.

        Notes
        -----
        Exact. The variance is ``sum_a u_a' own_a u_a + |sum_a spread_a' u_a|^2``, which is
        ``sum_a u_a' (S - S Gamma_a S) u_a + g' C_m g`` with ``g = sum_a (I - S Gamma_a)' u_a``: O(K d^2).
        """
        along = np.einsum("kdr,kd->r", self.spread, directions)
        own = np.einsum("kd,kde,ke->", directions, self.own, directions)
        return float(np.vdot(self.mean, directions)), max(float(own + along @ along), 0.0)

    def variances(self, contexts: Array) -> Array:
        """Posterior variances of ``x' theta_a``, contexts (n, d): (n, K), at O(n K d^2)."""
        full = self.own + self.spread @ self.spread.swapaxes(1, 2)
        K, d = self.mean.shape
        quadratic = (contexts @ full.reshape(K, d, d).transpose(1, 0, 2).reshape(d, K * d)).reshape(-1, K, d)
        return np.asarray(np.einsum("nkd,nd->nk", quadratic, contexts).clip(0.0))

    def draws(self, rng: np.random.Generator, size: int) -> Iterator[Array]:
        """Posterior draws of all actions' parameters, ``size`` times (K, d)."""
        values, vectors = np.linalg.eigh(self.own)
        roots = vectors * np.sqrt(values.clip(0.0))[:, None, :]
        for _ in range(size):
            noise = np.matvec(roots, rng.standard_normal(self.mean.shape))
            yield self.mean + self.spread @ rng.standard_normal(self.spread.shape[2]) + noise


def action_moments(posterior: ActionPosterior, scale: float = 1.0) -> ActionMoments:
    """Moments of a posterior, as exact as it is; O(K d^2) numbers.

    Parameters
    ----------
    posterior : posterior of ``theta_a = m0 + m + delta_a``; a shared part without a closed form counts as normal.
    scale : exploration scale.
    """
    table = posterior.table
    K, d, basis, reached = posterior.num_actions, table.dim, table.basis, table.reached
    gamma, beta = np.zeros((K, d, d)), np.zeros((K, d))
    gamma[table.actions] = table.gamma()
    beta[table.actions] = table.beta
    shared_mean, root = posterior.shared_moments(scale)
    mean, spread, own = moments_of_rows(basis, reached, Evidence(gamma, beta), shared_mean, root)
    mean += posterior.center
    if table.precise.rows:
        slots = table.precise.slots
        at = table.actions[slots]
        mean[at], own_root, follow = table.precise.moments(slots)
        mean[at] += follow @ (basis @ shared_mean)
        spread[at], own[at] = follow @ (basis @ root), own_root @ own_root.swapaxes(1, 2)
    return ActionMoments(mean, spread, scale**2 * own)


def moments_of_rows(basis: Array, reached: Array, messages: Evidence, shared_mean: Array, root: Array) -> ActionMoments:
    """Moments of ``theta_a = m + delta_a``, less the prior mean, from a table's messages and the shared part.

    Parameters
    ----------
    basis, reached : (d, d) and (d,), as in `ActionTable`; of the tables of R runs (R, 1, d, d) and (R, 1, d).
    messages : (..., K, d, d) and (..., K, d), in the table's coordinates; zeros of actions without data.
    shared_mean, root : (d,) and (d, r), mean of ``m`` and root of its covariance; of R runs (R, 1, d) and (R, 1, d, r).
    """
    gamma, beta = messages
    own = basis @ own_covariances(reached, gamma) @ np.swapaxes(basis, -1, -2)
    response = np.eye(gamma.shape[-1]) - reached[..., :, None] * gamma  # (..., K, d, d): how theta_a follows m
    mean = np.matvec(basis, beta * reached + np.matvec(response, shared_mean))
    return ActionMoments(mean, basis @ response @ root, (own + np.swapaxes(own, -1, -2)) / 2)


def own_covariances(reached: Array, gamma: Array) -> Array:
    """Covariances of actions' parameters given the shared part, in the table's coordinates, (..., d, d)."""
    return np.asarray(
        reached[..., None] * np.eye(gamma.shape[-1]) - gamma * (reached[..., :, None] * reached[..., None, :])
    )


def draws_of_rows(reached: Array, messages: Evidence, shared: Array, noise: Array) -> Array:
    """Draws of actions' parameters given draws ``shared`` of the shared part, in the table's coordinates, (..., d).

    Parameters
    ----------
    reached : (d,), as in `ActionTable`; of the tables of R runs (R, 1, d).
    messages : (..., d, d) and (..., d), of each action.
    shared : (..., d).
    noise : (..., d), standard normal times the exploration scale.
    """
    gamma, beta = messages
    root = covariance_root(own_covariances(reached, gamma))
    pull = (beta - np.matvec(gamma, shared)) * reached
    return np.asarray(shared + pull + np.matvec(root, noise))


def moments_from_evidence(prior: TwoLevelPrior, evidence: Evidence) -> ActionMoments:
    """Moments of ``theta_a = m0 + m + delta_a`` given evidence on every action at once.

    Parameters
    ----------
    prior : ``(m0, C, S)``.
    evidence : on the parameters, (K, d, d) and (K, d); zeros of actions without data.

    Notes
    -----
    Exact given the evidence. O(K d^3).
    """
    m0, C, S = prior
    message = through_noise(evidence.G, evidence.h - evidence.G @ m0, S)
    shared, root = condition(np.zeros(len(m0)), Evidence(message.G.sum(axis=0), message.h.sum(axis=0)), C)
    # Not as differences from I and S, of which nothing is left where rewards outweigh the prior by 1e15.
    own, _ = conditioned_root(factor(S), evidence.G)
    response = np.linalg.inv(np.eye(len(m0)) + S @ evidence.G)  # (K, d, d): how theta_a follows m
    return ActionMoments(m0 + message.h @ S + response @ shared, response @ root, own @ own.swapaxes(1, 2))
