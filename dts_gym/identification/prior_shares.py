"""Rules that fix every action's number of rounds beforehand, from the prior or after a few rounds of Thompson sampling.

Source: Nguyen et al., "Prior-Dependent Allocations for Bayesian Fixed-Budget Best-Arm Identification in Structured
Bandits" (2025), which calls them PI-BAI.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from dts_gym.identification.allocations import (
    error_objective,
    information_objective,
    least_shares,
    rounded,
    water_filling,
)
from dts_gym.identification.beliefs import Belief
from dts_gym.identification.best_action import best_probabilities
from dts_gym.identification.rule import Recommend, Rule, best_rows
from dts_gym.identification.streams import RunStreams
from dts_gym.utils.arrays import Array, IntArray, factor
from dts_gym.utils.validation import fraction, integer

_DRAWS = 1000  # of the prior, for the probabilities of being best


class _Allocation(Rule):
    """The base of rules that make one plan for all rounds; a subclass says the shares of the actions."""

    needs_one_context = True

    def start(self, belief: Belief, budget: int, streams: RunStreams) -> None:
        """Make the plan, (R, n) actions: every action ``n w_i`` times, rounded as `rounded` says."""
        shares = self._shares(belief, budget, streams)
        self._plan = np.stack([_spelled(row, budget) for row in shares])
        self._round = 0

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The next actions of the plan."""
        self._round += 1
        return np.asarray(self._plan[:, self._round - 1])

    @abstractmethod
    def _shares(self, belief: Belief, budget: int, streams: RunStreams) -> Array:
        """The shares, (R, K)."""


class OptimalAllocation(_Allocation):
    """The shares with the least bound on the probability of error, "PI-BAI-Opt".

    Parameters
    ----------
    mix : weight of the heuristic shares that the optimal ones are mixed with, 0..1. The heuristic is prior mean times
        prior variance, ``w_i ~ mu_i v_i``, where all prior means are 0 or more and some share is above 0; elsewhere the
        prior probability to be the best action.
    recommend : as in `Rule`.

    Notes
    -----
    See `dts_gym.identification.allocations.error_objective`, for scores of any covariance. The optimal shares are
    within 1e-6 of the least bound. Rounds are rounded to the largest remainders. O(K^3) a step, some hundred
    steps a prior.
    """

    name = "PI-BAI-Opt"

    def __init__(self, mix: float = 0.5, recommend: Recommend = "mean") -> None:
        super().__init__(recommend)
        self.mix = fraction("mix", mix, ends=True)

    def _shares(self, belief: Belief, budget: int, streams: RunStreams) -> Array:
        optimal = _each_prior(belief, lambda mean, root: _optimal(mean, root, budget, belief.noise_std))
        return (1.0 - self.mix) * optimal + self.mix * heuristic_shares(belief, streams)


class InformationAllocation(_Allocation):
    """The shares whose rewards say the most about the scores, Bayesian D-optimal, "PI-BAI-G".

    Notes
    -----
    ``log det(cov^-1 + n / noise_std^2 diag(w))`` is the largest, which for independent scores is `water_filling`.
    """

    name = "PI-BAI-G"

    def _shares(self, belief: Belief, budget: int, streams: RunStreams) -> Array:
        return _each_prior(belief, lambda mean, root: information_shares(root, budget, belief.noise_std))


class WarmUpAllocation(Rule):
    """Thompson sampling for some rounds, whose frequencies are the shares of the others, "PI-BAI-TS".

    Parameters
    ----------
    warm_up : number of rounds of Thompson sampling; None: as many as actions.
    recommend : as in `Rule`.
    """

    name = "PI-BAI-TS"
    needs_one_context = True

    def __init__(self, warm_up: int | None = None, recommend: Recommend = "mean") -> None:
        super().__init__(recommend)
        self.warm_up = None if warm_up is None else integer("warm_up", warm_up, 1)

    @classmethod
    def least_budget(cls, num_actions: int) -> int:
        """As many rounds as actions, for the warm-up."""
        return num_actions

    def start(self, belief: Belief, budget: int, streams: RunStreams) -> None:
        """Decide how many rounds are the warm-up."""
        self._warm = min(self.warm_up or belief.mean.shape[1], budget)
        self._budget, self._round = budget, 0

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The best action under a draw; after the warm-up the next one of the plan."""
        self._round += 1
        if self._round <= self._warm:
            return best_rows(belief.draw(streams, 1)[:, 0])
        if self._round == self._warm + 1:
            left = self._budget - self._warm
            self._plan = np.stack([_spelled(row / self._warm, left) for row in belief.counts])
        return np.asarray(self._plan[:, self._round - self._warm - 1])


def heuristic_shares(belief: Belief, streams: RunStreams) -> Array:
    """Shares (R, K) by prior mean times prior variance; with a negative mean, by the probability to be best."""
    products = belief.mean * belief.variances
    totals = products.sum(axis=1, keepdims=True)
    known = (belief.mean >= 0).all(axis=1, keepdims=True) & (totals > 0)
    if known.all():
        return np.asarray(products / totals)
    best = best_probabilities(belief, streams, _DRAWS)
    return np.where(known, products / np.where(known, totals, 1.0), best)


def information_shares(root: Array, budget: float, noise_std: float) -> Array:
    """The D-optimal shares (K,) for a root (K, r) of the scores' covariance; by formula where it is diagonal."""
    cov = root @ root.T
    variances = cov.diagonal()
    if not (np.abs(cov - np.diag(variances)) > 1e-12 * float(variances.max(initial=0.0))).any():
        return water_filling(variances, budget, noise_std)
    return least_shares(information_objective(root, budget, noise_std), len(root))


def _optimal(mean: Array, root: Array, budget: int, noise_std: float) -> Array:
    return least_shares(error_objective(mean, root, budget, noise_std), len(mean))


def _each_prior(belief: Belief, shares: Callable[[Array, Array], Array]) -> Array:
    """The shares (R, K) of every run's prior; runs of the same prior, as in most problems, share one computation."""
    mean, cov = belief.mean, belief.cov
    same = bool((mean == mean[0]).all() and (cov == cov[0]).all())
    found = [shares(m, factor(c)) for m, c in zip(mean[:1] if same else mean, cov[:1] if same else cov, strict=True)]
    return np.broadcast_to(np.stack(found), mean.shape)


def _spelled(shares: Array, budget: int) -> IntArray:
    """The actions of a plan, each as often as its rounded share, in the order of their numbers."""
    return np.repeat(np.arange(len(shares)), rounded(shares, budget))
