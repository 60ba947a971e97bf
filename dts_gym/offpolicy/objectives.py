"""What policies are learned by: estimated values of softmax and perturbed policies with their gradients, in blocks."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import log_ndtr

from dts_gym.offpolicy.learned_policies import NODE_WEIGHTS, NODES, softmax_probabilities
from dts_gym.offpolicy.log import BanditLog, block_slices
from dts_gym.utils.arrays import Array

_LOG_ROOT = 0.5 * math.log(2.0 * math.pi)


def best_softmax(log: BanditLog, gains: Array, lam: float | None, penalty: float, max_steps: int) -> Array:
    """Parameters (K, d), or (1, d) of shared features, of the softmax policy of the largest estimated value.

    Parameters
    ----------
    log : rounds.
    gains : (n,) what a round gives times the policy's probability of the logged action: ``r / pi0``.
    lam : smooth each round's ``pi gain`` as ``log(1 + lam pi gain) / lam``; None: as it is.
    penalty : factor on ``|theta|^2 / 2``, subtracted.
    max_steps : number of steps of L-BFGS at most.
    """
    from scipy.optimize import minimize  # slow to import

    shape = (1 if log.features == "shared" else log.num_actions), log.dim

    def loss(flat: Array) -> tuple[float, Array]:
        value, slope = softmax_objective(log, gains, lam, flat.reshape(shape))
        return penalty / 2 * float(flat @ flat) - value, penalty * flat - slope.ravel()

    start = np.zeros(shape[0] * shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": max_steps})
    return np.asarray(found.x.reshape(shape))


def softmax_objective(log: BanditLog, gains: Array, lam: float | None, parameters: Array) -> tuple[float, Array]:
    """The estimated value of a softmax policy, and its gradient by the parameters."""
    n, total, slope = len(log), 0.0, np.zeros_like(parameters)
    for block in block_slices(n, 2 * log.num_actions * (log.dim if log.features == "shared" else 1)):
        x, a, gain = log.contexts[block], log.actions[block], gains[block]
        p = softmax_probabilities(parameters, x, None if log.masks is None else log.masks[block])
        played = p[np.arange(len(a)), a]
        if lam is None:
            total += float(gain @ played)
            along = gain * played
        else:
            total += float(np.log1p(lam * gain * played).sum()) / lam
            along = gain * played / (1.0 + lam * gain * played)
        by_logits = -along[:, None] * p
        by_logits[np.arange(len(a)), a] += along
        slope += np.einsum("nk,nkd->d", by_logits, x)[None] if x.ndim == 3 else by_logits.T @ x
    return total / n, slope / n


def best_perturbed(
    log: BanditLog, played: Array, lam: float, delta: float, centre: Array, noise: float, max_steps: int
) -> tuple[Array, float]:
    """Means (K, d) of the perturbed policy of the largest guaranteed value, and that value.

    Parameters
    ----------
    log : rounds with rewards in 0..1.
    played : (n,) propensities of the logged actions.
    lam, delta : lambda of logarithmic smoothing, and the probability that the guarantee fails.
    centre : (K, d) means of the prior ``N(centre, noise^2 I)``.
    noise : standard deviation of the parameters.
    max_steps : number of steps of L-BFGS at most.
    """
    from scipy.optimize import minimize  # slow to import

    n, gains = len(log), np.log1p(lam * log.rewards / played) / lam

    def loss(flat: Array) -> tuple[float, Array]:
        means = flat.reshape(centre.shape)
        value, slope = perturbed_objective(log, gains, means, noise)
        off = (means - centre) / noise**2
        divergence = float(np.vdot(means - centre, off)) / 2
        return (divergence - math.log(delta)) / (lam * n) - value, off.ravel() / (lam * n) - slope.ravel()

    found = minimize(loss, centre.ravel().copy(), jac=True, method="L-BFGS-B", options={"maxiter": max_steps})
    return np.asarray(found.x.reshape(centre.shape)), math.expm1(-lam * float(found.fun)) / lam


def perturbed_objective(log: BanditLog, gains: Array, means: Array, noise: float) -> tuple[float, Array]:
    """``mean_i gains_i pi_Q(a_i | x_i)`` of a perturbed policy, and its gradient by the means.

    The logged action wins where its score, drawn from ``N(s_a, spread^2)``, beats every rival's:
    ``E_e prod_b Phi(e + (s_a - s_b) / spread)`` over a standard normal ``e``, by Gauss-Hermite quadrature.
    """
    n, K, total, slope = len(log), log.num_actions, 0.0, np.zeros_like(means)
    for block in block_slices(n, 4 * K * len(NODES)):
        x, a = log.contexts[block], log.actions[block]
        rows, spread = np.arange(len(a)), np.maximum(noise * np.linalg.norm(x, axis=1), 1e-300)
        scaled = (x @ means.T) / spread[:, None]
        gaps = (scaled[rows, a][:, None] - scaled)[:, :, None] + NODES  # (b, rival, node)
        counted = np.ones((len(a), K), dtype=bool) if log.masks is None else log.masks[block].copy()
        counted[rows, a] = False
        logs = log_ndtr(gaps)
        wins = np.exp(np.where(counted[..., None], logs, 0.0).sum(axis=1)) * NODE_WEIGHTS  # (b, node)
        total += float(gains[block] @ wins.sum(axis=1))
        ratios = np.where(counted[..., None], np.exp(-gaps * gaps / 2 - _LOG_ROOT - logs), 0.0)
        by_scores = -np.einsum("bkm,bm->bk", ratios, wins) * (gains[block] / spread)[:, None]
        by_scores[rows, a] -= by_scores.sum(axis=1)
        slope += by_scores.T @ x
    return total / n, slope / n
