r"""Information-directed sampling: the cost of an action, its information about the best one, and the mixture to play.

For every action two numbers are estimated from M posterior draws: its expected regret, and the variance of its mean
reward over the possible best actions, a lower bound on the information of a reward about the best action. The agent
plays the mixture of two actions with the least (expected regret)^2 / (expected variance).

Unplayed actions are exchangeable, so one row represents all U of them: the estimates for a fixed one of them.

Source: Russo and Van Roy, "Learning to Optimize via Information-Directed Sampling" (2018); the variance is that of
their section 6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

from dts_gym.posteriors.choices import Candidates
from dts_gym.posteriors.unplayed import AllowedActions, UnplayedActions
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray

# Quadrature nodes and weights on [0, 1] for means of truncated normal numbers, and the number of deviations below the
# bound at which the range is cut.
_NODES, _WEIGHTS = (part / 2 for part in np.polynomial.legendre.leggauss(32))
_NODES = _NODES + 0.5
_TAIL = 9.0


class RewardDraws(NamedTuple):
    """Posterior draws of the mean rewards of the actions that may be picked, for one context.

    Attributes
    ----------
    actions : (P,) numbers of the allowed played actions.
    unplayed : the allowed unplayed actions, U of them; None where there are none.
    winners : (M,) the column of each draw's best action, P where it is an unplayed one.
    played : (M, P) mean rewards of the played actions.
    top : (M,) mean reward of the best unplayed action; without meaning where U is 0.
    below : (M,) expected mean reward of any other unplayed action, given the draw of the best one.
    """

    actions: IntArray
    unplayed: UnplayedActions | AllowedActions | None
    winners: IntArray
    played: Array
    top: Array
    below: Array

    @classmethod
    def of_scores(cls, actions: IntArray, scores: Array, model: RewardModel) -> RewardDraws:
        """Of draws of every allowed action's score, (M, P), where none stands for others; rewards are ``model``'s."""
        nothing = np.zeros(len(scores))
        return cls(actions, None, scores.argmax(axis=1), model.mean(scores), nothing, nothing)

    @property
    def num_unplayed(self) -> int:
        """Number of unplayed actions, U."""
        return 0 if self.unplayed is None else len(self.unplayed)


class Estimated(NamedTuple):
    """Expected regret and variance of each action; the last row represents every unplayed action, if any.

    Attributes
    ----------
    regret : (P,) or (P + 1,) expected regrets ``E[max_b s_b] - E[s_a]``.
    variance : expected variances ``Var_b(E[s_a | b is best])``, of the same shape.
    """

    regret: Array
    variance: Array


class Mixture(NamedTuple):
    """Two rows, and the probability of playing the second."""

    first: int
    second: int
    share: float


def draws_of(
    among: Candidates, scores: Array, top: Array | None, below: Array | None, model: RewardModel
) -> RewardDraws:
    """Draws of mean rewards, from draws of scores.

    Parameters
    ----------
    among : the actions that may be picked.
    scores : (M, P) scores of all played actions.
    top : (M,) score of the best unplayed action; None where none may be picked.
    below : (M,) as in `RewardDraws`.
    model : reward family, whose mean maps a score to a mean reward.
    """
    actions = among.actions
    if len(among.banned):
        actions, scores = np.delete(actions, among.banned), np.delete(scores, among.banned, axis=1)
    M, P = scores.shape
    if top is None or below is None:
        return RewardDraws.of_scores(actions, scores, model)
    winners = scores.argmax(axis=1) if P else np.full(M, P)
    if P:
        winners = np.where(top > scores[np.arange(M), winners], P, winners)
    return RewardDraws(actions, among.unplayed, winners, model.mean(scores), model.mean(top), below)


def best_of_normals(
    mean: Array, std: float, count: int, rng: np.random.Generator, model: RewardModel
) -> tuple[Array, Array]:
    """Draws of the largest of ``count`` normal scores, and the expected mean reward of each score below it.

    Parameters
    ----------
    mean : (M,) mean of all scores of a draw.
    std : their standard deviation.
    count : U, the number of scores, at least 1.
    rng : source of the draws.
    model : reward family, whose mean maps a score to a mean reward.

    Returns
    -------
    (M,), (M,)
        The largest score, and the `truncated_mean` of the others.
    """
    z = ndtri_exp(rng.standard_exponential(len(mean)) / -count)
    return mean + std * z, truncated_mean(mean, std, z, model)


def truncated_mean(mean: Array, std: float, z: Array, model: RewardModel) -> Array:
    """``E[g(s) | s < mean + std z]`` for ``s ~ N(mean, std^2)``.

    Notes
    -----
    Exact for Gaussian rewards, ``mean - std phi(z) / Phi(z)``. The others use Gauss-Legendre quadrature with 32 nodes,
    with an error of some 1e-6 of the range where ``g`` changes little over a tenth of a deviation.

    Examples
    --------
    >>> truncated_mean(np.zeros(1), 1.0, np.zeros(1), GaussianReward()).round(6)  # -sqrt(2 / pi)
    array([-0.797885])
    """
    if isinstance(model, GaussianReward):
        return np.asarray(mean - std * np.exp(-0.5 * z * z - log_ndtr(z)) / math.sqrt(2 * math.pi))
    low = np.minimum(z, 0.0) - _TAIL
    x = low[:, None] + (z - low)[:, None] * _NODES  # (M, 32)
    nearest = np.minimum(z, 0.0)[:, None]  # where the density is largest: no weight underflows there
    weights = _WEIGHTS * np.exp(0.5 * (nearest * nearest - x * x))
    return np.asarray((weights * model.mean(mean[:, None] + std * x)).sum(axis=1) / weights.sum(axis=1))


def estimate(draws: RewardDraws) -> Estimated:
    """Expected regret and variance of every action.

    Parameters
    ----------
    draws : M independent draws.

    Returns
    -------
    Estimated

    Notes
    -----
    The regret is unbiased. The variance is that of the means of groups of draws, one group for each winner; a group's
    mean has a random error, so that the plain variance is too large, by a large factor where most winners have one
    draw. With B winners the excess is (B - 1) / M times the variance within groups. It is subtracted, with the estimate
    ``within M / (M - B)`` of the variance within groups, and the result is cut at 0. Where all winners are distinct the
    variance within groups cannot be estimated, and nothing is subtracted. At 64 draws, of 9 actions with 4 played, the
    variances' sum is 1.14 times the truth without and 0.97 times with the correction; of 100 actions that may all be
    best 7.2 and 1.6 times, because the small ones are cut at 0 (the largest alone: 5.1 and 1.3 times).

    A fixed unplayed action is the best unplayed one with probability 1 / U. Given that an unplayed action is best, the
    fixed one is it, and has ``top``, or is another, and has ``below``. O(M P B).
    """
    played, winners, U = draws.played, draws.winners, draws.num_unplayed
    M, P = played.shape
    best = played[np.arange(M), np.minimum(winners, P - 1)] if P else draws.top
    values = played
    if U:
        best = np.where(winners == P, draws.top, best)
        values = np.column_stack([played, (draws.top + (U - 1) * draws.below) / U])  # (M, P + 1)
    mean = values.mean(axis=0)
    off = values - mean
    counts = np.bincount(winners, minlength=P + 1)
    names = np.flatnonzero(counts)
    shares = counts[names] / M  # (B,)
    groups = (names[:, None] == winners).astype(np.float64)  # (B, M)
    by_winner = (groups @ off) / counts[names, None]  # (B, P + 1)
    between = shares @ (by_winner * by_winner)
    total = np.einsum("mp,mp->p", off, off) / M
    if counts[P]:
        # The row of unplayed actions, where one of them is best: the fixed one is it or is not.
        won = winners == P
        others = names < P
        between[P] = shares[others] @ by_winner[others, P] ** 2
        total[P] = (off[~won, P] ** 2).sum() / M
        for weight, part in ((1 / U, draws.top), ((U - 1) / U, draws.below)):
            apart = part[won] - mean[P]
            between[P] += weight * counts[P] / M * apart.mean() ** 2
            total[P] += weight * (apart @ apart) / M
    return Estimated(np.maximum(best.mean() - mean, 0.0), corrected(between, total, M, len(names)))


def corrected(between: Array, total: Array, num_draws: int, num_winners: int) -> Array:
    """The variance of groups' means, without the part due to chance; see `estimate`."""
    if num_winners == num_draws:
        return between
    within = np.maximum(total - between, 0.0)
    return np.asarray(np.maximum(between - within * ((num_winners - 1) / (num_draws - num_winners)), 0.0))


def two_point(regret: Array, variance: Array) -> Mixture:
    r"""The mixture of two rows with the least (expected regret)^2 / (expected variance), the first of least regret.

    Parameters
    ----------
    regret : (n,) expected regrets, not negative.
    variance : (n,) expected variances, not negative.

    Returns
    -------
    Mixture
        The first row has the least regret, of ties the largest variance; where no row has information it is played.

    Notes
    -----
    The best mixture has two rows, and by fixing the first the ratio is at most 4/3 of the best. With the second row j,
    the best share of it is ``D_i / (D_j - D_i) - 2 v_i / (v_j - v_i)``, cut to [0, 1], and 0 where j has no more
    information than i. O(n).

    Examples
    --------
    >>> two_point(np.array([0.1, 0.2, 1.0]), np.array([0.0, 1.0, 1.0]))
    Mixture(first=0, second=1, share=1.0)
    """
    least = regret.min()
    tied = np.flatnonzero(regret == least)
    first = int(tied[variance[tied].argmax()])
    dearer, more = regret - least, variance - variance[first]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shares = np.where(more > 0, np.clip(least / dearer - 2 * variance[first] / more, 0.0, 1.0), 0.0)
        told = variance[first] + shares * more
        ratios = np.where(told > 0, (least + shares * dearer) ** 2 / told, np.inf)
    second = int(ratios.argmin())
    return Mixture(first, second, float(shares[second]))


def information_directed(draws: RewardDraws, rng: np.random.Generator) -> int:
    """The action that information-directed sampling picks, by the mixture that the draws give."""
    estimated = estimate(draws)
    mixture = two_point(*estimated)
    row = mixture.second if rng.random() < mixture.share else mixture.first
    # Actions of the same regret and variance are tied, of equal features for one: any of them is picked.
    alike = [np.isclose(part, part[row], rtol=1e-9, atol=1e-12 * float(part.max())) for part in estimated]
    rows = np.flatnonzero(alike[0] & alike[1])
    played = rows[rows < len(draws.actions)]
    if len(played):
        index = int(rng.integers(len(played) + (draws.num_unplayed if len(played) < len(rows) else 0)))
        if index < len(played):
            return int(draws.actions[played[index]])
    assert draws.unplayed is not None
    return draws.unplayed.draw_one(rng)
