"""What an agent with a posterior expects of every action: means, spreads and credible intervals."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dts_gym.posteriors.marginals import NormalLaws
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array
from dts_gym.utils.validation import fraction

if TYPE_CHECKING:
    from dts_gym.posteriors.interface import Posterior


class Estimates(ABC):
    """Estimates of every action, for agents that have a posterior.

    Notes
    -----
    The estimates are as exact as the agent. They are exact for LinTS, LinUCB, HierTS, MarginalLinTS, JointTS and
    EpsilonGreedy (whose posterior is that of ridge regression), dTS and dUCB on linear chains, TunedTS and MixTS, all
    with Gaussian rewards; with other rewards the posterior is the agent's quadratic expansion, of which these are exact
    averages. Approximated chains and LaplaceDPS average some 512 draws (weighted where they are particles) by a fixed
    rule, so the same data return the same numbers. On perceptrons (d = 5, L = 2, 10 actions, 100 rounds) means are off
    by 0.02 to 0.13 posterior standard deviations, most at branch L; those of LaplaceDPS by some 0.13.

    All estimates are at the agent's exploration scale, as `sample_parameters` is; computing them neither learns nor
    advances a random stream. A context costs O(P d^2) with P played actions, times the number of draws or components
    where the distribution is a mixture, and O(K).
    """

    problem: BanditProblem
    _lock: threading.RLock

    @property
    @abstractmethod
    def _beliefs(self) -> tuple[Posterior, RewardModel, float]:
        """The posterior, the family by which its parameters make rewards, and the exploration scale."""

    @abstractmethod
    def _check_context(self, context: Any) -> Array:
        """Return ``context``, checked."""

    def marginals(self, context: Any) -> tuple[Array, Array]:
        """Posterior mean and standard deviation of ``x' theta_a`` for every action.

        For Gaussian rewards ``x' theta_a`` is the mean reward; for the others the mean reward is a function of it.

        Parameters
        ----------
        context : as in `act`.

        Returns
        -------
        mean, std
            (K,) each, or (n, K) for n contexts.

        Raises
        ------
        ValueError
            If the shape does not fit the problem or a value is not finite.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinTS", BanditProblem(2, 1, random_linear_prior(1, 1), GaussianReward()))
        >>> agent.update([1.0], 0, 3.0)
        >>> agent.marginals([1.0])
        (array([1.5, 0. ]), array([0.70710678, 1.        ]))
        """
        mean, variance = self._over_actions(context, NormalLaws.mean, NormalLaws.variance)
        return mean, np.sqrt(variance)

    def mean_reward(self, context: Any) -> Array:
        """Posterior mean of every action's mean reward, ``E[g(x' theta_a)]``.

        With rewards that are not Gaussian it need not order the actions as ``predict(deterministic=True)`` does, which
        picks the largest mean of ``x' theta_a``.

        Parameters
        ----------
        context : as in `act`.

        Returns
        -------
        (K,), or (n, K) for n contexts

        Raises
        ------
        ValueError
            As `marginals`.
        """
        model = self._beliefs[1]

        def mean(laws: NormalLaws) -> Array:
            return np.asarray((laws.weights * model.expected_mean(laws.means, laws.variances)).sum(axis=0))

        return self._over_actions(context, mean)[0]

    def credible_interval(self, context: Any, level: float = 0.95) -> tuple[Array, Array]:
        """The central interval in which every action's mean reward lies with probability ``level``.

        Parameters
        ----------
        context : as in `act`.
        level : probability of the interval, between 0 and 1.

        Returns
        -------
        lower, upper
            (K,) each, or (n, K) for n contexts.

        Raises
        ------
        ValueError
            As `marginals`, or if ``level`` is not between 0 and 1.

        Notes
        -----
        The interval is for the mean reward, not for a reward: it does not include the noise. The quantiles of a mixture
        are found by 60 steps of bisection.
        """
        tail = (1.0 - fraction("level", level)) / 2
        lower, upper = self._over_actions(
            context,
            lambda laws: laws.quantile(tail),
            # The upper quantile is read from the mirrored distribution: near a level of 1, 1 - tail would round to 1.
            lambda laws: -laws._replace(means=-laws.means).quantile(tail),
        )
        model = self._beliefs[1]
        return model.mean(lower), model.mean(upper)

    def _over_actions(self, context: Any, *statistics: Callable[[NormalLaws], Array]) -> list[Array]:
        """Each statistic of every action's distribution, (K,) or (n, K)."""
        x = self._check_context(context)
        single = x.ndim == len(self.problem.context_shape)
        with self._lock:
            posterior, _, scale = self._beliefs
            out = [np.empty((1 if single else len(x), self.problem.num_actions)) for _ in statistics]
            # One context at a time: the components of a mixture take many times the memory of the result.
            for i, row in enumerate(x[None] if single else x):
                laws = posterior.laws(row[None], scale)
                for part, statistic in zip(out, statistics, strict=True):
                    part[i] = laws.of_all(statistic)[0]
        return [part[0] for part in out] if single else out
