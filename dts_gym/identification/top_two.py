"""Rules that play what a posterior draw says: Thompson sampling, and two with a leader and a challenger."""

from __future__ import annotations

import numpy as np

from dts_gym.identification.beliefs import Belief
from dts_gym.identification.rule import Recommend, Rule, best_rows
from dts_gym.identification.streams import RunStreams
from dts_gym.utils.arrays import IntArray
from dts_gym.utils.validation import fraction, integer

_BLOCK = 10  # draws made at a time while a challenger is looked for


class TS(Rule):
    """Thompson sampling: the best action under a posterior draw of all scores, in every round."""

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The best actions under one draw."""
        return best_rows(belief.draw(streams, 1)[:, 0])


class T3C(Rule):
    """Top-two Thompson sampling with the challenger of the least transportation cost.

    Parameters
    ----------
    leader_share : probability with which the leader is played, else the challenger.
    recommend : as in `Rule`.

    Notes
    -----
    The leader i is the best action under a posterior draw. The challenger is the action j of the least
    ``(m_i - m_j)^2 / (2 Var(theta_i - theta_j | data))``, which is 0 where ``m_j >= m_i``; the variance has the
    correlation of the two scores. Source: Shang et al., "Fixed-Confidence Guarantees for Bayesian Best-Arm
    Identification" (2020).
    """

    def __init__(self, leader_share: float = 0.5, recommend: Recommend = "mean") -> None:
        super().__init__(recommend)
        self.leader_share = fraction("leader_share", leader_share, ends=True)

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The leader or its challenger."""
        leader = best_rows(belief.draw(streams, 1)[:, 0])
        challenger = nearest_challengers(belief, leader)
        return np.where(streams.uniform() < self.leader_share, leader, challenger)


class TopTwoTS(T3C):
    """Top-two Thompson sampling: posterior draws are repeated until another action is the best.

    Parameters
    ----------
    leader_share : probability with which the leader is played, else the challenger.
    most_draws : number of repeated draws after which the challenger is that of `T3C`.
    recommend : as in `Rule`.

    Notes
    -----
    Source: Russo, "Simple Bayesian Algorithms for Best-Arm Identification" (2020).
    """

    def __init__(self, leader_share: float = 0.5, most_draws: int = 100, recommend: Recommend = "mean") -> None:
        super().__init__(leader_share, recommend)
        self.most_draws = integer("most_draws", most_draws, 1, most=10_000)

    def choose(self, belief: Belief, streams: RunStreams) -> IntArray:
        """The leader or its challenger."""
        played = best_rows(belief.draw(streams, 1)[:, 0])
        # Draws are made only in the runs that play the challenger and have none yet.
        open_runs = np.flatnonzero(streams.uniform() >= self.leader_share)
        leader = played.copy()
        for start in range(0, self.most_draws, _BLOCK):
            if not len(open_runs):
                return played
            size = min(_BLOCK, self.most_draws - start)
            best = belief.draw(streams.of(open_runs), size, open_runs).argmax(axis=-1)  # (open, size)
            other = best != leader[open_runs, None]
            found = other.any(axis=1)
            first = other.argmax(axis=1)
            played[open_runs[found]] = best[found, first[found]]
            open_runs = open_runs[~found]
        if len(open_runs):
            played[open_runs] = nearest_challengers(belief, leader)[open_runs]
        return played


def nearest_challengers(belief: Belief, leader: IntArray) -> IntArray:
    """The actions other than the leaders (R,) of the least transportation cost, (R,)."""
    rows = np.arange(len(leader))
    gap = (belief.mean[rows, leader][:, None] - belief.mean).clip(0.0)
    cost = gap * gap / np.maximum(2 * belief.difference_variances(leader), 1e-300)
    cost[rows, leader] = np.inf
    return np.asarray(cost.argmin(axis=1))
