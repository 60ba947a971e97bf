"""Posteriors from all rounds of a log at once: sums for Gaussian rewards, for others an expansion at the mode."""

from __future__ import annotations

import warnings

import numpy as np

from dts_gym.offpolicy.log import BanditLog, block_slices
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.expansion import mean_pull
from dts_gym.posteriors.totals import ActionMoments, moments_from_evidence
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, IntArray, factor

_STEPS = 200
_LONGEST = 4.0  # the largest change of a predictor in one step
_CLOSE = 1e-8
# Where rewards outweigh the prior by more, in the trace of precisions, sums round off what they say: rounds are then
# learned one after the other, as the agents do.
_HEAVIEST = 1e7


def summed_moments(log: BanditLog, prior: TwoLevelPrior, model: RewardModel) -> ActionMoments | None:
    """The posterior under Gaussian rewards by one solve for each action, exact; None where rewards outweigh the prior.

    O(n d^2 + K d^3), in blocks.
    """
    rows, actions, rewards = _sorted(log)
    K = 1 if log.features == "shared" else log.num_actions
    evidence = _evidence(rows, actions, rewards, np.zeros((K, log.dim)), model)
    heaviest = np.einsum("kde,ed->k", evidence.G, prior.action_cov + prior.shared_cov).max()
    total = np.einsum("kde,ed->", evidence.G, prior.shared_cov)
    return None if max(heaviest, total) > _HEAVIEST else moments_from_evidence(prior, evidence)


def expanded_moments(log: BanditLog, prior: TwoLevelPrior, model: RewardModel) -> ActionMoments:
    """A normal approximation of the posterior, for rewards of mean ``g(x' theta_a)``.

    Notes
    -----
    The covariance is that of an expansion at the mode. The mean is the mode moved by `mean_pull`, to third order, as
    the agents' is: the posterior of few rewards is skewed.

    Newton's method on all parameters at once, with steps that move no logged predictor by more than 4: the mode is
    unique, because the log-likelihoods are concave. Each step costs O(n d^2 + K d^3). Evidence is expanded as the
    agents' is, but at the mode given the whole log.
    """
    K = 1 if log.features == "shared" else log.num_actions
    rows, actions, rewards = _sorted(log)
    theta = np.tile(prior.mean, (K, 1))
    for _ in range(_STEPS):
        moments = moments_from_evidence(prior, _evidence(rows, actions, rewards, theta, model))
        moved = np.vecdot(moments.mean[actions] - theta[actions], rows)
        longest = float(np.abs(moved).max())
        theta = theta + min(1.0, _LONGEST / max(longest, 1e-300)) * (moments.mean - theta)
        if longest <= _CLOSE:
            break
    else:
        warnings.warn("the mode of the posterior was not found in 200 steps: sDM and DM are off", stacklevel=2)
    pull = np.zeros_like(theta)
    at = np.append(np.flatnonzero(np.diff(actions, prepend=-1)), len(actions))
    for start, end in zip(at[:-1].tolist(), at[1:].tolist(), strict=True):
        a, own = int(actions[start]), slice(start, end)
        root = np.hstack([factor(moments.own[a]), moments.spread[a]])
        pull[a] = mean_pull(model, rows[own], theta[a], root, np.ones(end - start))
    evidence = _evidence(rows, actions, rewards, theta, model)
    return moments_from_evidence(prior, Evidence(evidence.G, evidence.h + pull))


def _sorted(log: BanditLog) -> tuple[Array, IntArray, Array]:
    """Contexts (n, d), parameters' numbers and rewards of the rounds, sorted by parameter."""
    if log.features == "shared":
        return log.contexts[np.arange(len(log)), log.actions], np.zeros_like(log.actions), log.rewards
    order = np.argsort(log.actions, kind="stable")
    return log.contexts[order], log.actions[order], log.rewards[order]


def _evidence(rows: Array, actions: IntArray, rewards: Array, theta: Array, model: RewardModel) -> Evidence:
    """Evidence on every action, (K, d, d) and (K, d), expanded at ``theta``; rounds are sorted by action."""
    K, d = theta.shape
    G, h = np.zeros((K, d, d)), np.zeros((K, d))
    for block in block_slices(len(rows), d * d):
        x, a, y = rows[block], actions[block], rewards[block]
        eta = np.vecdot(theta[a], x)
        slopes = model.derivative(eta) / model.dispersion
        pulls = (y - model.mean(eta)) / model.dispersion + slopes * eta
        present, starts = np.unique(a, return_index=True)
        G[present] += np.add.reduceat(slopes[:, None, None] * x[:, :, None] * x[:, None, :], starts)
        h[present] += np.add.reduceat(pulls[:, None] * x, starts)
    return Evidence(G, h)
