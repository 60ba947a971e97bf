"""Rules that drop actions in stages: successive halving by rewards or by the belief, and successive rejects.

A schedule is a list of stages, each a number of actions and a number of rounds, the same for all runs of a budget.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal, NamedTuple, get_args

import numpy as np

from dts_gym.identification.beliefs import Belief
from dts_gym.identification.rule import Recommend, Rule
from dts_gym.identification.streams import RunStreams
from dts_gym.utils.arrays import IntArray
from dts_gym.utils.validation import choice

Final = Literal["survivor", "mean", "probability"]


class Stage(NamedTuple):
    """A stage of a rule that drops actions: how many are left in it, and the rounds that they share."""

    actions: int
    rounds: int


def halving_schedule(num_actions: int, budget: int) -> list[Stage]:
    """The stages of successive halving.

    Notes
    -----
    There are ``ceil(log2 K)`` stages; each stage after the first has half the actions of the one before, rounded up.
    The stages have equal shares of the budget, ``floor(n / stages)`` rounds or, in the last ``n mod stages`` of them,
    one more. The actions of a stage are played in turn, those ranked highest first: where a share is not a multiple of
    their number (or less than it, where the usual formula ``floor(n / (actions stages))`` gives 0 plays) those ranked
    highest are played once more than the others.

    Examples
    --------
    >>> halving_schedule(8, 48)
    [Stage(actions=8, rounds=16), Stage(actions=4, rounds=16), Stage(actions=2, rounds=16)]
    """
    sizes, left = [], num_actions
    while left > 1:
        sizes.append(left)
        left = (left + 1) // 2
    share, more = divmod(budget, max(len(sizes), 1))
    return [Stage(size, share + (place >= len(sizes) - more)) for place, size in enumerate(sizes)]


def rejects_schedule(num_actions: int, budget: int) -> list[Stage]:
    """The stages of successive rejects.

    Notes
    -----
    With ``log K = 1/2 + sum_{i=2}^K 1/i`` and ``n_k = ceil((n - K) / (log K (K + 1 - k)))``, ``n_0 = 0``, stage k plays
    each of its ``K + 1 - k`` actions ``n_k - n_{k-1}`` times. The formula may leave some rounds over, fewer than K;
    they go to the last stage.

    Examples
    --------
    >>> rejects_schedule(3, 12)
    [Stage(actions=3, rounds=9), Stage(actions=2, rounds=3)]
    """
    K = num_actions
    scale = 0.5 + sum(1.0 / i for i in range(2, K + 1))
    plays = [0, *(math.ceil((budget - K) / (scale * (K + 1 - k))) for k in range(1, K))]
    stages = [Stage(K + 1 - k, (K + 1 - k) * (plays[k] - plays[k - 1])) for k in range(1, K)]
    over = budget - sum(stage.rounds for stage in stages)
    return [*stages[:-1], Stage(stages[-1].actions, stages[-1].rounds + over)] if stages else []


class _Elimination(Rule):
    """The base of rules that drop actions by stages; a subclass says the schedule."""

    needs_one_context = True
    _by_rewards = True

    def __init__(self, recommend: Final = "survivor") -> None:
        choice("recommend", recommend, get_args(Final))
        self._survivor = recommend == "survivor"
        known: dict[str, Recommend] = {"survivor": "mean", "mean": "mean", "probability": "probability"}
        super().__init__(known[recommend])

    @staticmethod
    @abstractmethod
    def schedule(num_actions: int, budget: int) -> list[Stage]:
        """The stages for K actions and a budget."""

    def start(self, belief: Belief, budget: int, streams: RunStreams) -> None:
        """Make the schedule."""
        runs, K = belief.mean.shape
        self._stages = self.schedule(K, budget)
        self._active = np.ones((runs, K), dtype=bool)
        self._stage, self._round = -1, 0
        self._begin_next(belief)

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The stage's next actions, in turn."""
        while self._stage + 1 < len(self._stages) and self._round >= self._stages[self._stage].rounds:
            self._begin_next(belief)
        place = self._round % self._ranked.shape[1]
        self._round += 1
        return np.asarray(self._ranked[:, place])

    def recommend(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The action that is left at the end, or as the setting ``recommend`` says."""
        if not self._survivor:
            return super().recommend(belief, streams)
        return np.asarray(self._ranks(belief)[:, 0])

    def _begin_next(self, belief: Belief) -> None:
        self._stage, self._round = self._stage + 1, 0
        size = self._stages[self._stage].actions if self._stages else 1
        self._ranked = self._ranks(belief)[:, :size]
        self._active[:] = False
        np.put_along_axis(self._active, self._ranked, True, axis=1)

    def _ranks(self, belief: Belief) -> IntArray:
        """The actions that are left, those of the largest values first; (R, K), dropped ones last."""
        values = belief.average_rewards() if self._by_rewards else belief.mean
        return np.asarray(np.argsort(np.where(self._active, -values, np.inf), axis=1, kind="stable"))


class SequentialHalving(_Elimination):
    """Successive halving by average rewards, without a prior: half of the actions are dropped after every stage.

    Parameters
    ----------
    recommend : "survivor", the last action; or "mean" or "probability", by the belief, as in `Rule`.

    Notes
    -----
    `halving_schedule` has the stages. An action is ranked by the average of all its rewards, or by its posterior mean
    as long as it has none. Source: Karnin, Koren and Somekh, "Almost Optimal Exploration in
    Multi-Armed Bandits" (2013).
    """

    schedule = staticmethod(halving_schedule)

    @classmethod
    def least_budget(cls, num_actions: int) -> int:
        """One round for every stage."""
        return max(1, math.ceil(math.log2(num_actions)))


class BayesElim(SequentialHalving):
    """Successive halving by posterior means.

    Parameters
    ----------
    recommend : "survivor", the last action; or "mean" or "probability", as in `Rule`.

    Notes
    -----
    Source: Atsidakou et al., "Bayesian Fixed-Budget Best-Arm Identification" (2022), with the stages of
    `halving_schedule`.
    """

    _by_rewards = False


class SuccessiveRejects(_Elimination):
    """One action is dropped after every stage, that of the least average reward.

    Parameters
    ----------
    recommend : "survivor", the last action; or "mean" or "probability", by the belief, as in `Rule`.

    Notes
    -----
    `rejects_schedule` has the stages. Source: Audibert, Bubeck and Munos, "Best Arm Identification in Multi-Armed
    Bandits" (2010).
    """

    schedule = staticmethod(rejects_schedule)

    @classmethod
    def least_budget(cls, num_actions: int) -> int:
        """One more than the actions, so that each is played in the first stage."""
        return num_actions + 1
