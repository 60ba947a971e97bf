"""The belief of an agent's posterior: for chains and rewards without a normal belief, and changing contexts."""

from __future__ import annotations

from typing import Any

import numpy as np

from dts_gym.identification.beliefs import Belief
from dts_gym.identification.streams import RunStreams
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import make_agent
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import integers

# How the posterior draws of a rule are made: by the agent of the chain's posterior, at its Bayesian exploration scale.
_AGENT, _SCALE = "dTS", 1.0


class AgentBelief(Belief):
    """Scores at the present context under the posterior of a dTS agent; one run.

    Parameters
    ----------
    problem : the problem, whose prior is a chain.
    context : the first context.
    seed : seed for the posterior draws.

    Notes
    -----
    As exact as the agent: exactly for linear chains and Gaussian rewards, by particles or expansions for the others.
    Scores are linear predictors ``x' theta``. Means and covariances cost O(K^2 d^2) a round, so K should be small. For
    rewards that are not Gaussian ``noise_std`` is that of a reward as an observation of the average prior predictor.
    """

    def __init__(self, problem: BanditProblem, context: Array, seed: int | np.random.SeedSequence) -> None:
        self._agent: Any = make_agent(_AGENT, problem, seed=seed, exploration=_SCALE)
        self._problem, self._context = problem, np.asarray(context, dtype=np.float64)
        self._moments: tuple[Array, Array] | None = None
        self.is_normal = isinstance(problem.reward_model, GaussianReward) and hasattr(problem.prior, "two_level")
        self.counts = np.zeros((1, problem.num_actions), dtype=np.int64)
        self.totals = np.zeros((1, problem.num_actions))
        model = problem.reward_model
        if isinstance(model, GaussianReward):
            self.noise_std = model.noise_std
        else:
            self.noise_std = float(np.sqrt(model.observed_variance(float(self.mean.mean()))))

    @property
    def context(self) -> Array:
        """The context whose scores the belief is about."""
        return self._context

    @context.setter
    def context(self, context: Array) -> None:
        self._context = np.asarray(context, dtype=np.float64)
        self._moments = None

    @property
    def mean(self) -> Array:
        """(1, K) posterior means."""
        return self._at_context()[0]

    @property
    def cov(self) -> Array:
        """(1, K, K) posterior covariances."""
        return self._at_context()[1]

    def means_at(self, contexts: Array) -> Array:
        """(n, K) posterior mean scores at n contexts."""
        mean = self._agent.moments()[0]
        return np.asarray(contexts @ (mean if mean.ndim == 1 else mean.T))

    def average_rewards(self) -> Array:
        """(1, K) average rewards; for an action without rewards the mean reward at its posterior mean."""
        expected = self._problem.reward_model.mean(self.mean)
        return np.where(self.counts > 0, self.totals / np.maximum(self.counts, 1), expected)

    def draw(self, streams: RunStreams, size: int, rows: IntArray | None = None) -> Array:
        """Posterior draws of the scores, (1, size, K), from the agent's own stream."""
        drawn = self._agent.sample_parameters(size)  # (size, K, d) or (size, d)
        scores = drawn @ self._context if drawn.ndim == 3 else drawn @ self._context.T
        return np.asarray(scores[None] if rows is None or len(rows) else scores[:0])

    def update(self, action: Any, reward: Any) -> None:
        """Condition on a reward of the present context."""
        given = np.atleast_1d(action) if np.ndim(action) == 0 else action
        (played,) = integers("action", given, 1, self._problem.num_actions).tolist()
        value = float(np.atleast_1d(reward)[0])
        self._agent.update(self._context, played, value)
        self.counts[0, played] += 1
        self.totals[0, played] += value
        self._moments = None

    def _at_context(self) -> tuple[Array, Array]:
        if self._moments is None:
            mean, cov = self._agent.moments()
            x, K = self._context, self._problem.num_actions
            if mean.ndim == 1:
                scores, spread = x @ mean, x @ cov @ x.T
            else:
                scores = mean @ x
                spread = np.einsum("kilj,i,j->kl", cov.reshape(K, len(x), K, len(x)), x, x)
            self._moments = scores[None], ((spread + spread.T) / 2)[None]
        return self._moments
