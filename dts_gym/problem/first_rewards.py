"""Whether the first rewards are what a prior expects: contexts of zeros, rewards far from it or lost in its noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from dts_gym.problem.rewards import GaussianReward, PoissonReward, RewardModel
from dts_gym.utils.arrays import Array

ENOUGH = 20  # rewards that are looked at
# Rewards that follow the prior are farther than this many deviations, in the root mean square, once in a million runs
# at most: where all come from one draw of a parameter and nothing else. Their mean square is as small as this share of
# the noise's variance never: it is no less than chi-square with 20 degrees of freedom, over 20.
_FAR, _SMALL = 5.0, 0.01

Finding = Literal["zero contexts", "far rewards", "small rewards"]


class Belief(NamedTuple):
    """What rewards are expected to be like.

    Attributes
    ----------
    model : law of the rewards; Gaussian and Poisson ones can contradict it.
    moments : gives the mean (d,) and covariance (d, d) of an action's parameters before any reward.
    """

    model: RewardModel
    moments: Callable[[], tuple[Array, Array]]


class FirstRewards:
    """The first rewards that an agent learns, until enough are there to judge them by its prior."""

    def __init__(self) -> None:
        self._contexts: list[Array] = []  # rows (d,) whose product with a parameter makes the rewards
        self._rewards: list[float] = []

    @property
    def count(self) -> int:
        """How many have been noted."""
        return len(self._rewards)

    def note(self, rows: Array, rewards: Array) -> bool:
        """Take in n more, (n, d) and (n,), as far as they are needed; whether there are enough now."""
        free = ENOUGH - self.count
        self._contexts += list(rows[:free].copy())
        self._rewards += rewards[:free].tolist()
        return self.count >= ENOUGH

    def finding(self, beliefs: Sequence[Belief]) -> Finding | None:
        """What to warn of: contexts of zeros, or rewards that contradict every belief; None where nothing does."""
        X, y = np.array(self._contexts), np.array(self._rewards)
        if not X.any():
            return "zero contexts"
        found = [_contradiction(X, y, belief) for belief in beliefs]
        return found[0] if None not in found else None


def _contradiction(X: Array, y: Array, belief: Belief) -> Finding | None:
    """How rewards (n,) contradict a belief, where they do."""
    model = belief.model
    if not isinstance(model, GaussianReward | PoissonReward):
        return None
    if isinstance(model, GaussianReward) and (y * y).mean() < _SMALL * model.noise_std**2:
        return "small rewards"
    mean, cov = belief.moments()
    X = X[:, : len(mean)]  # without the 1 of an intercept that the belief knows nothing of
    center, spread = X @ mean, np.einsum("nd,de,ne->n", X, cov, X).clip(0.0)
    if isinstance(model, GaussianReward):
        far = ((y - center) ** 2 / (spread + model.noise_std**2)).mean() > _FAR**2
    else:
        highest = model.mean(center + _FAR * np.sqrt(spread))
        far = (y > highest + _FAR * np.sqrt(highest)).mean() > 0.5
    return "far rewards" if far else None
