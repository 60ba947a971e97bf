"""Models of rewards fitted to a log: posteriors of all actions' parameters, and the values that they claim."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np

from dts_gym.offpolicy.expanded_fits import expanded_moments, summed_moments
from dts_gym.offpolicy.log import BanditLog, block_slices
from dts_gym.posteriors.totals import ActionMoments, action_moments
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import LinearDiffusionPrior, as_linear
from dts_gym.priors.prior import Prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.registry import make_agent
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import seed_sequence

_DRAWS = 400
_SEEN = 1000  # contexts over which posterior draws are averaged, where there is no formula


class RewardFit(ABC):
    """A posterior fitted to rounds; subclasses say by which formulas."""

    is_exact: bool

    @abstractmethod
    def mean_rewards(self, contexts: Array) -> Array:
        """Posterior mean of every action's mean reward, (n, K)."""

    @abstractmethod
    def score_means(self, contexts: Array) -> Array:
        """Posterior mean of every action's ``x' theta_a``, (n, K), in the order of which actions are best."""

    @abstractmethod
    def score_moments(self, contexts: Array) -> tuple[Array, Array]:
        """Posterior mean and standard deviation of every action's ``x' theta_a``, (n, K) each."""

    @abstractmethod
    def deviation(self, directions: Array, contexts: Array, probabilities: Array) -> float:
        """Posterior standard deviation of a policy's value.

        Parameters
        ----------
        directions : (K, d), or (1, d) of a shared parameter: ``u_a = mean_i pi(a|x_i) x_i``.
        contexts, probabilities : a sample of at most `sampled_rows` rounds, for models without a formula.
        """


def sampled_rows(n: int) -> Any:
    """The rounds whose contexts and probabilities `RewardFit.deviation` receives: evenly spaced, 1000 at most."""
    return np.unique(np.linspace(0, n - 1, min(n, _SEEN)).round().astype(np.int64))


class LinearFit(RewardFit):
    """The posterior of a linear chain: that of the agents dTS, LinTS and others, exact for Gaussian rewards.

    Rewards of other families enter by an expansion at the most probable parameters, see `expanded_moments`.
    """

    def __init__(self, log: BanditLog, prior: LinearDiffusionPrior, model: RewardModel, seed: int = 0) -> None:
        self._is_shared, self._model, self._seed = log.features == "shared", model, seed
        self.is_exact = isinstance(model, GaussianReward)
        two_level = prior.two_level(prior.branch)
        if not isinstance(model, GaussianReward):
            self.moments: ActionMoments = expanded_moments(log, two_level, model)
            return
        summed = summed_moments(log, two_level, model)
        if summed is not None:
            self.moments = summed
            return
        posterior = TwoLevelPosterior(two_level, 1 if self._is_shared else log.num_actions, model.noise_std)
        for block in block_slices(len(log), 4 * log.dim * log.dim):
            x, a = log.contexts[block], log.actions[block]
            if self._is_shared:
                x, a = x[np.arange(len(a)), a], np.zeros_like(a)
            posterior.update_all(np.ascontiguousarray(x), a, log.rewards[block])
        self.moments = action_moments(posterior)

    @classmethod
    def of(cls, moments: ActionMoments, is_shared: bool) -> LinearFit:
        """A fit of which the posterior of the scores alone is known: its rewards count as Gaussian."""
        fit = object.__new__(cls)
        fit.moments, fit._is_shared, fit.is_exact = moments, is_shared, True
        return fit

    def mean_rewards(self, contexts: Array) -> Array:
        if self.is_exact:
            return self.score_means(contexts)
        mean, deviations = self.score_moments(contexts)
        return self._model.expected_mean(mean, deviations**2)

    def score_means(self, contexts: Array) -> Array:
        mean = self.moments.mean
        return np.asarray(contexts @ mean[0] if self._is_shared else contexts @ mean.T)

    def score_moments(self, contexts: Array) -> tuple[Array, Array]:
        n, K = len(contexts), contexts.shape[1] if self._is_shared else len(self.moments.mean)
        deviations = np.empty((n, K))
        for block in block_slices(n, 2 * K * contexts.shape[-1]):
            x = contexts[block]
            rows = x.reshape(-1, x.shape[-1]) if self._is_shared else x
            deviations[block] = np.sqrt(self.moments.variances(rows)).reshape(len(x), K)
        return self.score_means(contexts), deviations

    def deviation(self, directions: Array, contexts: Array, probabilities: Array) -> float:
        if self.is_exact:
            return math.sqrt(self.moments.of_total(directions)[1])
        draws = self.moments.draws(np.random.default_rng(seed_sequence(self._seed, "posterior")), _DRAWS)
        return _spread(draws, self._model, self._is_shared, contexts, probabilities)


class DrawnFit(RewardFit):
    """The posterior of dTS under a chain whose links are not affine, as approximate as that agent.

    Deviations are those of 400 posterior draws over at most 1000 of the contexts.
    """

    is_exact = False

    def __init__(self, log: BanditLog, prior: Prior, model: RewardModel, seed: int) -> None:
        self._model, self._is_shared = model, log.features == "shared"
        features: Any = log.features
        problem = BanditProblem(log.num_actions, log.dim, prior, model, features, len(log))
        self._agent: Any = make_agent("dTS", problem, seed=seed)
        self._agent.update(log.contexts, log.actions, log.rewards)

    def mean_rewards(self, contexts: Array) -> Array:
        return np.asarray(self._agent.mean_reward(contexts))

    def score_means(self, contexts: Array) -> Array:
        return self.score_moments(contexts)[0]

    def score_moments(self, contexts: Array) -> tuple[Array, Array]:
        mean, std = self._agent.marginals(contexts)
        return np.asarray(mean), np.asarray(std)

    def deviation(self, directions: Array, contexts: Array, probabilities: Array) -> float:
        draws = (self._agent.sample_parameters() for _ in range(_DRAWS))
        return _spread(draws, self._model, self._is_shared, contexts, probabilities)


def _spread(
    draws: Iterable[Array], model: RewardModel, is_shared: bool, contexts: Array, probabilities: Array
) -> float:
    """Standard deviation over posterior draws of the mean over rounds of ``sum_a pi(a|x) g(x' theta_a)``."""
    values = []
    for theta in draws:
        scores = contexts @ theta.reshape(-1) if is_shared else contexts @ theta.T
        values.append(float(np.vdot(probabilities, model.mean(scores))) / len(contexts))
    return float(np.std(values, ddof=1))


def fit_chain(log: BanditLog, prior: Prior, model: RewardModel, seed: int = 0) -> RewardFit:
    """The posterior of a chain given a log: exact for linear chains and Gaussian rewards."""
    chain = as_linear(prior)
    if prior.dim != log.dim:
        raise ValueError(f"prior must have dim {log.dim}, that of the log's contexts, got {prior.dim}")
    if chain is not None:
        return LinearFit(log, chain, model, seed)
    return DrawnFit(log, prior, model, seed)


def independent_prior(dim: int) -> LinearDiffusionPrior:
    """The prior of actions that share nothing, each ``N(0, I)``: LinTS's, and that of the estimator DM.

    Examples
    --------
    >>> independent_prior(2).two_level(1)
    TwoLevelPrior(mean=array([0., 0.]), shared_cov=array([[0., 0.],
           [0., 0.]]), action_cov=array([[1., 0.],
           [0., 1.]]))
    """
    eye = np.eye(dim)
    return LinearDiffusionPrior([eye], [eye, np.zeros((dim, dim))], branch=1)
