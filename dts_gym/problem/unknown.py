"""Placeholders for the prior and the rewards of an environment that does not describe its own."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from dts_gym.priors.prior import Prior
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import integer


class UnknownPrior(Prior):
    """Placeholder for a missing prior: everything but its dimension raises a ValueError that asks for a prior.

    Parameters
    ----------
    dim : d, the dimension of the parameters.

    Examples
    --------
    >>> UnknownPrior(3).branch
    Traceback (most recent call last):
    ValueError: prior must be given: the environment has none, and the agent asks for its branch; pass prior=, for
    example random_linear_prior(3, 2) or the file of a learned prior (docs/priors.md), or take an agent that needs none,
    as LinTS
    """

    def __init__(self, dim: int) -> None:
        self.dim = integer("dim", dim, 1)

    def __getattr__(self, name: str) -> NoReturn:
        if name in ("depth", "branch", "links", "covariances", "with_branch", "sample_chain"):
            self._refuse(name)
        raise AttributeError(name)

    def sample(self, rng: np.random.Generator, num_actions: int) -> NoReturn:
        """Raise ValueError, as nothing is known."""
        self._refuse("draws")

    def _refuse_chain(self) -> NoReturn:
        self._refuse("links")

    def _refuse(self, what: str) -> NoReturn:
        raise ValueError(
            f"prior must be given: the environment has none, and the agent asks for its {what}; pass prior=, for "
            f"example random_linear_prior({self.dim}, 2) or the file of a learned prior (docs/priors.md), or take an "
            "agent that needs none, as LinTS"
        )

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The description from which `dts_gym.problem.problem_from_state` makes it."""
        return {"kind": "unknown"}, {}


class UnknownReward(RewardModel):
    """Placeholder for unknown rewards: they are finite numbers, and nothing else is known.

    Examples
    --------
    >>> UnknownReward().check(2)
    2.0
    >>> UnknownReward().mean(np.zeros(1))
    Traceback (most recent call last):
    ValueError: noise_std must be given (rewards are then Gaussian), or reward ("bernoulli", "poisson"): the environment
    does not describe its rewards
    """

    name = "unknown"

    @staticmethod
    def refuse() -> NoReturn:
        """Raise the ValueError that names the missing arguments."""
        raise ValueError(
            'noise_std must be given (rewards are then Gaussian), or reward ("bernoulli", "poisson"): the environment '
            "does not describe its rewards"
        )

    def mean(self, eta: Array) -> NoReturn:
        """Raise ValueError, as nothing is known."""
        self.refuse()

    def derivative(self, eta: Array) -> NoReturn:
        """Raise ValueError, as nothing is known."""
        self.refuse()

    def log_likelihood(self, reward: Array, eta: Array) -> NoReturn:
        """Raise ValueError, as nothing is known."""
        self.refuse()

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NoReturn:
        """Raise ValueError, as nothing is known."""
        self.refuse()

    def from_noise(self, noise: Array, eta: Array) -> NoReturn:
        """Raise ValueError, as nothing is known."""
        self.refuse()

    def check(self, reward: Any) -> float:
        """Return ``reward`` as a float; any finite number is accepted."""
        return GaussianReward().check(reward)

    def settings(self) -> dict[str, Any]:
        """Empty: there are no constructor arguments."""
        return {}
