"""Reward families: the distribution of a reward given its linear predictor ``eta = x' theta``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import numpy as np
from scipy.special import expit, gammaln, log_expit, ndtr

from dts_gym.problem.poisson_quantile import poisson_quantile
from dts_gym.utils.arrays import Array
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import LARGEST, choice, number, positive

_LEAST_NOISE, _MOST_NOISE = 1e-50, 1e50
# Every count up to this is a float64; of larger ones only some are.
_LARGEST_COUNT = float(1 << 53)
# A larger Poisson predictor is replaced by this: a mean of 2e130, whose square is still a floating-point number.
_LARGEST_LOG_MEAN = 300.0
# Quadrature nodes and weights for an average over a standard normal number, for families without a better rule.
_NORMAL_NODES, _NORMAL_WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_NORMAL_WEIGHTS /= _NORMAL_WEIGHTS.sum()


class RewardModel(Shown, ABC):
    """A one-parameter exponential family with canonical link.

    ``log P(y | eta) = (y eta - A(eta)) / dispersion + c(y)``, with ``A' = g``.

    Attributes
    ----------
    name : short name, as used by environments and in saved files.
    dispersion : the variance of a reward divided by ``g'(eta)``; for Gaussian rewards the variance of the noise, else
        1.
    """

    name: str
    dispersion: float = 1.0

    @abstractmethod
    def mean(self, eta: Array) -> Array:
        """Expected reward ``g(eta)``, shape of ``eta``; increasing in ``eta``."""

    @abstractmethod
    def derivative(self, eta: Array) -> Array:
        """``g'(eta)``, shape of ``eta``."""

    def second_derivative(self, eta: Array) -> Array:
        """``g''(eta)``, shape of ``eta``: a central difference of `derivative` where a family has no formula."""
        step = 1e-5 * np.maximum(1.0, np.abs(eta))
        return np.asarray((self.derivative(eta + step) - self.derivative(eta - step)) / (2.0 * step))

    def observed_variance(self, eta: float) -> float:
        """Variance of a reward as an observation of the predictor near ``eta``: ``dispersion / g'(eta)``.

        Exact for Gaussian rewards, else to first order.
        """
        slope = float(self.derivative(np.array([eta]))[0])
        return self.dispersion / max(slope, 1e-300)

    def expected_mean(self, mean: Array, variance: Array) -> Array:
        """``E[g(eta)]`` for ``eta ~ N(mean, variance)``, broadcast.

        The families here compute it to rounding; others by Gauss-Hermite quadrature with 64 nodes.
        """
        std = np.sqrt(variance)
        return _average(lambda z: self.mean(mean + std * z), _NORMAL_NODES, _NORMAL_WEIGHTS)

    @abstractmethod
    def log_likelihood(self, reward: Array, eta: Array) -> Array:
        """Log density or probability ``log P(reward | eta)``, broadcast."""

    @abstractmethod
    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw the random part of rewards of that shape, whatever ``eta``; n draws of one equal one draw of n."""

    @abstractmethod
    def from_noise(self, noise: Array, eta: Array) -> Array:
        """Compute the rewards from ``eta`` and noise of the same shape, as `draw_noise` returns it."""

    @final
    def sample(self, rng: np.random.Generator, eta: Array) -> Array:
        """Rewards, shape of ``eta``; consumes the same amount of ``rng`` whatever ``eta``."""
        eta = np.asarray(eta, dtype=np.float64)
        return self.from_noise(self.draw_noise(rng, eta.shape), eta)

    @abstractmethod
    def check(self, reward: Any) -> float:
        """Return ``reward`` as a float in the family's support; else raise ValueError."""

    def check_all(self, rewards: Array) -> Array:
        """Return n finite rewards, (n,), if all are in the family's support; else raise ValueError as `check`."""
        return np.array([self.check(reward) for reward in rewards.tolist()])

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Constructor arguments, as JSON data."""

    def _repr_facts(self) -> dict[str, Any]:
        return self.settings()


class GaussianReward(RewardModel):
    """Gaussian rewards ``N(eta, noise_std^2)``.

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
        if not _LEAST_NOISE <= self.noise_std <= _MOST_NOISE:
            raise ValueError(f"noise_std must be between {_LEAST_NOISE:g} and {_MOST_NOISE:g}, got {noise_std!r}")
        self.dispersion = self.noise_std**2

    def mean(self, eta: Array) -> Array:
        """``eta`` itself."""
        return eta

    def derivative(self, eta: Array) -> Array:
        """Ones, as the mean is ``eta``."""
        return np.ones_like(eta)

    def expected_mean(self, mean: Array, variance: Array) -> Array:
        """``mean`` itself."""
        return np.asarray(mean + np.zeros_like(variance))

    def log_likelihood(self, reward: Array, eta: Array) -> Array:
        """Normal log density."""
        z = (np.asarray(reward) - eta) / self.noise_std
        return np.asarray(-0.5 * z * z - math.log(self.noise_std * math.sqrt(2 * math.pi)))

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Standard normal numbers."""
        return rng.standard_normal(shape)

    def from_noise(self, noise: Array, eta: Array) -> Array:
        """``eta + noise_std * noise``."""
        return eta + self.noise_std * noise

    def check(self, reward: Any) -> float:
        """Return ``reward`` as a float; any number of at most 1e50 in size is accepted."""
        value = _number(reward, "a finite number")
        if abs(value) > LARGEST:
            raise ValueError(f"reward must be at most {LARGEST:g} in size, got {value}")
        return value

    def check_all(self, rewards: Array) -> Array:
        """As `RewardModel.check_all`, in one comparison."""
        return rewards if np.abs(rewards).max(initial=0.0) <= LARGEST else super().check_all(rewards)

    def settings(self) -> dict[str, Any]:
        """The constructor argument ``noise_std``."""
        return {"noise_std": self.noise_std}


class BernoulliReward(RewardModel):
    """1 with probability ``1 / (1 + exp(-eta))``, else 0.

    Notes
    -----
    Results have full relative precision for every finite ``eta``, also where a probability rounds to one: all functions
    use the logistic function of ``eta`` and of ``-eta``, never a difference from one.

    Examples
    --------
    >>> model = BernoulliReward()
    >>> model.mean(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    >>> model.log_likelihood(np.array([0.0, 1.0]), np.array([1000.0, 1000.0])).tolist()
    [-1000.0, -0.0]
    """

    name = "bernoulli"

    def mean(self, eta: Array) -> Array:
        """``1 / (1 + exp(-eta))``."""
        return np.asarray(expit(eta))

    def derivative(self, eta: Array) -> Array:
        """``g (1 - g)``."""
        return np.asarray(expit(eta) * expit(np.negative(eta)))

    def second_derivative(self, eta: Array) -> Array:
        """``g (1 - g) (1 - 2 g)``."""
        return np.asarray(self.derivative(eta) * np.tanh(np.negative(eta) / 2.0))

    def expected_mean(self, mean: Array, variance: Array) -> Array:
        """``E[g(eta)]`` for ``eta ~ N(mean, variance)``, within 1e-13.

        Notes
        -----
        The integral uses the trapezoidal rule, whose error for functions without a singularity within pi of the real
        line is ``exp(-2 pi pi / step)``: over ``eta`` where its standard deviation is below 1; else, as ``g`` is the
        distribution function of a logistic number ``t``, over ``P(eta > t)``.
        """
        mean, std = np.broadcast_arrays(np.asarray(mean, dtype=np.float64), np.sqrt(variance))
        out, narrow = np.empty(mean.shape), np.asarray(std < 1.0)
        m, s = mean[narrow], std[narrow]
        z = np.arange(-18, 19) / 2
        out[narrow] = _average(lambda z: expit(m + s * z), z, np.exp(-z * z / 2))
        t = np.arange(-80, 81) / 2
        wide_mean, wide_std = mean[~narrow], std[~narrow]
        out[~narrow] = _average(lambda t: ndtr((wide_mean - t) / wide_std), t, self.derivative(t))
        return out

    def log_likelihood(self, reward: Array, eta: Array) -> Array:
        """Log probability; ``reward`` must be 0 or 1."""
        return np.asarray(log_expit((2.0 * np.asarray(reward) - 1.0) * eta))

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Uniform numbers."""
        return rng.random(shape)

    def from_noise(self, noise: Array, eta: Array) -> Array:
        """1.0 where the uniform number is below the mean, else 0.0."""
        return np.asarray(noise < expit(eta), dtype=np.float64)

    def check(self, reward: Any) -> float:
        """Return ``reward`` as a float; it must be 0 or 1."""
        value = _number(reward, "0 or 1")
        if value not in (0.0, 1.0):
            raise ValueError(f"reward must be 0 or 1, got {value}")
        return value

    def settings(self) -> dict[str, Any]:
        """Empty: there are no constructor arguments."""
        return {}


class PoissonReward(RewardModel):
    """A count of mean ``exp(eta)``.

    Notes
    -----
    A mean above ``exp(300)`` (2e130) counts as ``exp(300)``, so that no sum of means overflows; there, and only
    there, mean, derivative and likelihood are not those of ``eta``.

    Examples
    --------
    >>> model = PoissonReward()
    >>> model.mean(np.array([0.0, 1.0])).round(4)
    array([1.    , 2.7183])
    >>> bool(np.isfinite(model.log_likelihood(np.array(3.0), np.array([-1e3, 1e3]))).all())
    True
    """

    name = "poisson"

    def mean(self, eta: Array) -> Array:
        """``exp(eta)``."""
        return np.asarray(np.exp(np.minimum(eta, _LARGEST_LOG_MEAN)))

    def derivative(self, eta: Array) -> Array:
        """``exp(eta)``, the variance as well as the mean."""
        return self.mean(eta)

    def second_derivative(self, eta: Array) -> Array:
        """``exp(eta)`` again."""
        return self.mean(eta)

    def expected_mean(self, mean: Array, variance: Array) -> Array:
        """``exp(mean + variance / 2)``."""
        return self.mean(mean + np.asarray(variance) / 2)

    def log_likelihood(self, reward: Array, eta: Array) -> Array:
        """``y eta - exp(eta) - log y!``; ``reward`` must be a non-negative integer."""
        y = np.asarray(reward, dtype=np.float64)
        return np.asarray(y * eta - self.mean(eta) - gammaln(y + 1.0))

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Uniform numbers."""
        return rng.random(shape)

    def from_noise(self, noise: Array, eta: Array) -> Array:
        """Counts as floats: the quantiles at the uniform numbers.

        Notes
        -----
        The quantiles invert the distribution function: exactly (to the uniform numbers' 53 bits) up to a mean of 1e6,
        above it by the quantile's normal expansion to second order, rounded, with an error within 1e-8 in probability.
        """
        mean = self.mean(eta)
        counts = poisson_quantile(np.ravel(noise), mean.ravel()).reshape(mean.shape)
        return np.minimum(counts, _LARGEST_COUNT)

    def check(self, reward: Any) -> float:
        """Return ``reward`` as a float; it must be a non-negative integer of at most 2^53, given as int or float."""
        value = _number(reward, "a non-negative integer")
        if value < 0 or not value.is_integer():
            raise ValueError(f"reward must be a non-negative integer, got {value}")
        if value > _LARGEST_COUNT:
            raise ValueError(f"reward must be a count of at most 2^53, got {value}")
        return value

    def settings(self) -> dict[str, Any]:
        """Empty: there are no constructor arguments."""
        return {}


def _average(values: Callable[[float], Array], nodes: Array, weights: Array) -> Array:
    """The weighted average of ``values`` over the nodes, one node at a time to save memory."""
    total = sum(weight * values(node) for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True))
    return np.asarray(total / weights.sum())


def _number(reward: Any, expected: str) -> float:
    try:
        return number("reward", reward)
    except ValueError:
        raise ValueError(f"reward must be {expected}, got {reward!r:.200}") from None


_FAMILIES: dict[str, type[RewardModel]] = {
    family.name: family for family in (GaussianReward, BernoulliReward, PoissonReward)
}


def reward_model(name: str, **settings: Any) -> RewardModel:
    """Make the family of that name with ``settings``.

    Raises
    ------
    ValueError
        If the name is unknown, or the family does not have a setting.

    Examples
    --------
    >>> reward_model("bernoulli"), reward_model("gaussian", noise_std=2.0)
    (BernoulliReward(), GaussianReward(noise_std=2.0))
    """
    family = _FAMILIES[choice("reward", name, sorted(_FAMILIES))]
    try:
        return family(**settings)
    except TypeError as error:
        raise ValueError(f"settings of the reward {name!r} must be its own, got {sorted(settings)}") from error
