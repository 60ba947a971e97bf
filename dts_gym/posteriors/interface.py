"""The methods of posteriors that agents call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from dts_gym.posteriors.information import RewardDraws
from dts_gym.posteriors.marginals import ActionLaws
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class Posterior(Protocol):
    """The methods of a posterior that agents call; contexts are the problem's, ``scale`` is the exploration scale.

    A posterior with an attribute ``is_careful`` keeps narrow parts in twofold precision where that is True. Its choices
    and `laws` then raise ValueError for contexts along which even that does not resolve a deviation.
    """

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float, mask: BoolArray | None = None
    ) -> IntArray:
        """Best actions under posterior draws, of those that ``mask`` (K,) allows."""

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed actions of the largest posterior mean; of tied ones any, or the lowest-numbered without ``rng``."""

    def sample_parameters(self, rng: np.random.Generator, scale: float, size: int | None = None) -> Array:
        """Posterior draws, one (K, d) or ``size`` of them (size, K, d)."""

    def moments(self, scale: float) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d)."""

    def laws(self, contexts: Array, scale: float) -> ActionLaws:
        """Posterior distributions of every action's ``x' theta``, for n contexts."""

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""


@runtime_checkable
class BatchPosterior(Protocol):
    """A posterior that learns n rewards in one pass."""

    def update_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Condition on n rewards: (n, d), (n,) and (n,)."""


@runtime_checkable
class IndependentGivenShared(Protocol):
    """A posterior whose actions' scores are independent, mixtures of normal distributions, given what they share."""

    def laws_given_shared(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> ActionLaws:
        """Distributions of ``x' theta`` given ``size`` draws of the shared part: a row for each, for one context."""


class BoundedPosterior(Posterior, Protocol):
    """A posterior that also has standard deviations."""

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed actions of the largest mean plus ``scale`` standard deviations."""

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean."""


class ConfidencePosterior(BoundedPosterior, Protocol):
    """A posterior with bounds whose mean rewards can be drawn together, for one context."""

    def reward_draws(
        self,
        context: Array,
        rng: np.random.Generator,
        scale: float,
        num_draws: int,
        model: RewardModel,
        mask: BoolArray | None = None,
    ) -> RewardDraws:
        """Posterior draws of the allowed actions' mean rewards, for one context."""


class Engine(Protocol):
    """The methods that the posterior of a bandit of one action must have."""

    num_actions: int

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws, one (1, d) or ``size`` of them (size, 1, d)."""

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta``, contexts (n, d)."""

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (1, d) and covariance (d, d)."""

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
