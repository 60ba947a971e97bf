"""Reward families: the law of a reward given its linear predictor ``eta = x' theta``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from dts_gym.arrays import Array, positive


class RewardModel(ABC):
    """A one-parameter exponential family with canonical link.

    Attributes
    ----------
    name : short name, as used by environments and in saved files.
    """

    name: str

    @abstractmethod
    def mean(self, eta: Array) -> Array:
        """Expected reward ``g(eta)``, shape of ``eta``; increasing in ``eta``."""

    @abstractmethod
    def derivative(self, eta: Array) -> Array:
        """``g'(eta)``, shape of ``eta``."""

    @abstractmethod
    def log_likelihood(self, reward: Array, eta: Array) -> Array:
        """``log P(reward | eta)``, broadcast."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, eta: Array) -> Array:
        """Rewards, shape of ``eta``; consumes the same amount of ``rng`` whatever ``eta``."""

    @abstractmethod
    def check(self, reward: Any) -> float:
        """``reward`` as a float of the family's support, or ValueError."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Constructor arguments, as JSON holds them."""


class GaussianReward(RewardModel):
    """``N(eta, noise_std^2)``.

    Parameters
    ----------
    noise_std : standard deviation, positive (never a variance).

    Examples
    --------
    >>> GaussianReward(noise_std=0.5).noise_std
    0.5
    """

    name = "gaussian"

    def __init__(self, noise_std: float = 1.0) -> None:
        self.noise_std = positive("noise_std", noise_std)

    def mean(self, eta: Array) -> Array:
        """``eta`` itself."""
        return eta

    def derivative(self, eta: Array) -> Array:
        """One."""
        return np.ones_like(eta)

    def log_likelihood(self, reward: Array, eta: Array) -> Array:
        """Normal log density."""
        z = (np.asarray(reward) - eta) / self.noise_std
        return np.asarray(-0.5 * z * z - math.log(self.noise_std * math.sqrt(2 * math.pi)))

    def sample(self, rng: np.random.Generator, eta: Array) -> Array:
        """``eta`` plus normal noise."""
        eta = np.asarray(eta, dtype=np.float64)
        return eta + self.noise_std * rng.standard_normal(eta.shape)

    def check(self, reward: Any) -> float:
        """Any finite number."""
        try:
            number = float(reward)
        except (TypeError, ValueError) as error:
            raise ValueError(f"reward must be a finite number, got {reward!r}") from error
        if not math.isfinite(number):
            raise ValueError(f"reward must be a finite number, got {number}")
        return number

    def settings(self) -> dict[str, Any]:
        """``noise_std``."""
        return {"noise_std": self.noise_std}

    def __repr__(self) -> str:
        return f"GaussianReward(noise_std={self.noise_std})"


_FAMILIES = {family.name: family for family in (GaussianReward,)}


def reward_model(name: str, **settings: Any) -> RewardModel:
    """The family of that name, built with ``settings``; ValueError for an unknown name."""
    if name not in _FAMILIES:
        raise ValueError(f"reward must be one of {sorted(_FAMILIES)}, got {name!r}")
    return _FAMILIES[name](**settings)
