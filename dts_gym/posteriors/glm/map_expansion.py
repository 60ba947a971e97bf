"""Evidence of an action's rewards, expanded at the most probable parameters given all data; of many actions at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.expansion import expand, fit_map, mean_pull
from dts_gym.posteriors.glm.sites import Rewards
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, conditioned_root

WIDEST = 1e7  # there MAPs are off by up to 1e-4 prior standard deviations, at 1e8 by 1e-2


class NormalPrior(NamedTuple):
    """The distribution ``N(mean, root root')`` of an action's parameters before its own rewards.

    Attributes
    ----------
    mean : (..., d).
    root : (..., d, r) of full column rank.
    inverse : (..., r, d), its left inverse: ``inverse @ root = I``.
    """

    mean: Array
    root: Array
    inverse: Array


class Expansion(NamedTuple):
    """Evidence, the point of its expansion, the mean of the posterior that it leads to and a root of its covariance."""

    evidence: Evidence
    point: Array
    mean: Array
    root: Array


def prior_std(context: Array, prior: NormalPrior) -> tuple[Array, BoolArray]:
    """Prior standard deviations (...) of ``x' theta``, and which of them floating point resolves."""
    with np.errstate(over="ignore", invalid="ignore"):
        reach = np.vecmat(context, prior.root)
        std = np.sqrt(np.vecdot(reach, reach))
    return std, np.asarray(std <= WIDEST)


def at_map(
    model: RewardModel, rewards: Rewards, rest: Evidence | None, prior: NormalPrior, begin: Array | None
) -> Expansion:
    """Expand rewards, and evidence beside them, at the MAP, with the mean corrected by `mean_pull`.

    Parameters
    ----------
    model : distribution of a reward given ``x' theta``.
    rewards : (..., n, d), (..., n) and (..., n), of one action or of B.
    rest : evidence beside the rewards, (..., d, d) and (..., d), or None.
    prior : distribution of the parameters before these.
    begin : (..., d) points to start from, None for the prior's mean.

    Notes
    -----
    A second-order expansion, exact for Gaussian rewards. O(n d^2 + d^3) for a Newton step, two to four steps. Arguments
    are not checked; the result is not finite where products overflow.
    """
    mean, root, inverse = prior
    begin = mean if begin is None else begin
    if rest is None:
        z = np.matvec(inverse, begin - mean)
    else:  # as if it were part of the prior
        root, L = conditioned_root(root, rest.G)
        mean = mean + np.matvec(root, np.vecmat(rest.h - np.matvec(rest.G, mean), root))
        z = np.vecmat(np.matvec(inverse, begin - mean), L)  # the new root is the old one times L^-T
    X, y, counts = rewards
    point = fit_map(model, X, y, mean, root, z, counts)
    evidence = expand(model, X, y, point, counts)
    root, _ = conditioned_root(root, evidence.G)
    pull = mean_pull(model, X, point, root, counts)
    evidence = Evidence(evidence.G, evidence.h + pull)
    if rest is not None:
        evidence = Evidence(evidence.G + rest.G, evidence.h + rest.h)
    return Expansion(evidence, point, point + np.matvec(root, np.vecmat(pull, root)), root)
