"""Baselines that an agent should beat (epsilon-greedy, uniform play) and the oracle, which no agent can beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from dts_gym.agents.base import Agent
from dts_gym.agents.inputs import independent_prior
from dts_gym.agents.posterior_agents import ModelAgent
from dts_gym.posteriors.choices import any_of, tied_best
from dts_gym.posteriors.interface import ConfidencePosterior, Posterior
from dts_gym.posteriors.marginals import NormalLaws
from dts_gym.posteriors.ranking import best_of_all
from dts_gym.posteriors.shared_parameter import posterior_for
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.posteriors.unplayed import allowed_scores
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.seeding import Seed
from dts_gym.utils.validation import finite_array, fraction


class EpsilonGreedy(ModelAgent[ConfidencePosterior]):
    """Plays a uniform action with probability ``epsilon``, else the best one by the means of ridge regression.

    Parameters
    ----------
    problem, seed : as for every agent; the problem's prior is not used.
    epsilon : probability of a uniform action, 0..1.
    prior_mean, prior_cov : mean and covariance of every action's prior, as in `LinTS`; zeros and the identity if None.
    intercept : whether every context gets a trailing 1, as in `LinTS`.

    Notes
    -----
    Greedy play picks any of tied actions, of all unplayed ones for example; `predict` with ``deterministic=True`` picks
    the lowest-numbered.
    """

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: Seed = None,
        epsilon: float = 0.1,
        prior_mean: Array | None = None,
        prior_cov: Array | None = None,
        intercept: bool = False,
    ) -> None:
        self.epsilon = fraction("epsilon", epsilon, ends=True)
        prior, given = independent_prior(problem, prior_mean, prior_cov, intercept)
        if not isinstance(prior, TwoLevelPrior):
            raise ValueError(f"prior_mean must have one axis for EpsilonGreedy, got shape {prior.action_means.shape}")
        self._prior = prior
        self._intercept = bool(given["intercept"])
        super().__init__(problem, seed=seed, epsilon=self.epsilon, **given)

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        rows = contexts.shape[: contexts.ndim - len(self.problem.context_shape)]
        explore = rng.random(rows) < self.epsilon
        uniform = _uniform(self.problem.num_actions, rows, rng, mask)
        return np.where(explore, uniform, self._posterior.greedy(contexts, mask, rng))

    def _formula(self, context: Array, mask: BoolArray | None) -> Array:
        means = self._posterior.laws(context[None], 1.0).of_all(NormalLaws.mean)[0]
        return (1.0 - self.epsilon) * any_of(tied_best(means, mask)) + self.epsilon * any_of(
            np.ones(means.shape, dtype=bool) if mask is None else mask
        )

    @property
    def _beliefs(self) -> tuple[Posterior, RewardModel, float]:
        # Ridge regression treats rewards as linear, whatever their family.
        return self._posterior, GaussianReward(), 1.0

    def _prior_moments(self) -> tuple[Array, Array]:
        return self._prior.marginal()

    def _make_posterior(self) -> ConfidencePosterior:
        # The means of ridge regression, with the noise scale of the rewards, or 1 where they are not Gaussian.
        model = self.reward_model
        noise_std = model.noise_std if isinstance(model, GaussianReward) else 1.0
        return posterior_for(self.problem, lambda K: TwoLevelPosterior(self._prior, K, noise_std))


class Random(Agent):
    """Plays uniformly at random; for ``predict(deterministic=True)`` all actions are tied, so it plays the first."""

    learns = False

    def __init__(self, problem: BanditProblem, *, seed: Seed = None) -> None:
        super().__init__(problem, seed=seed)

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        rows = contexts.shape[: contexts.ndim - len(self.problem.context_shape)]
        return _uniform(self.problem.num_actions, rows, rng, mask)

    def _formula(self, context: Array, mask: BoolArray | None) -> Array:
        return any_of(np.ones(self.problem.num_actions, dtype=bool) if mask is None else mask)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        return best_of_all(np.zeros(self.num_actions), mask, size, rng)

    def _choose_greedily(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        first = 0 if mask is None else int(mask.argmax())
        return np.full(contexts.shape[: contexts.ndim - len(self.problem.context_shape)], first, dtype=np.int64)

    def _learn(self, context: Array, action: int, reward: float) -> None:
        return

    def _forget(self) -> None:
        return

    def _state(self) -> Mapping[str, Array | IntArray]:
        return {}

    def _restore(self, state: Mapping[str, Any]) -> None:
        return


class Oracle(Agent):
    """Plays the best action of the environment's instance, which no other agent may read; its regret is zero.

    Parameters
    ----------
    problem : the environment's problem.
    env : the environment; its ``unwrapped.instance`` is read at every choice. In a vector environment that is the
        instance that all sub-environments are pinned to; where they are not pinned, `spawn` makes an oracle for each.
    seed : accepted as by every agent, and unused: an oracle draws nothing.

    Notes
    -----
    A saved oracle keeps the instance it had when it was saved, and a loaded one plays on that instance.
    """

    learns = False

    def __init__(self, problem: BanditProblem, *, env: Any = None, seed: Seed = None) -> None:
        if not isinstance(env, BanditInstance) and not hasattr(getattr(env, "unwrapped", None), "instance"):
            raise ValueError(f"env must be a bandit environment, whose instance the oracle reads, got {env!r:.200}")
        self._env = env
        self._index: int | None = None  # which of a vector environment's instances; None: the one that all share
        super().__init__(problem, seed=seed)

    @classmethod
    def from_env(cls, env: Any, *, seed: Seed = None, **settings: Any) -> Self:
        """Return the oracle for an environment."""
        return cls(env.unwrapped.problem, env=env, seed=seed, **settings)

    @classmethod
    def _rebuild(cls, problem: BanditProblem, settings: Mapping[str, Any], state: Mapping[str, Any]) -> Self:
        shape = (problem.num_actions, problem.dim)[0 if problem.features == "disjoint" else 1 :]
        parameters = finite_array("parameters", state["parameters"], shape)
        return cls(problem, env=BanditInstance(parameters, problem.reward_model), **settings)

    def _fresh(self, index: int) -> Self:
        oracle = type(self)(self.problem, env=self._env)
        if hasattr(getattr(self._env, "unwrapped", None), "instances"):
            oracle._index = index
        return oracle

    @property
    def instance(self) -> BanditInstance:
        """The instance played on; ValueError before the environment's first reset."""
        if isinstance(self._env, BanditInstance):
            return self._env
        env = self._env.unwrapped
        if self._index is None:
            instance = env.instance
        else:
            instance = env.instances[self._index] if self._index < len(env.instances) else None
        if not isinstance(instance, BanditInstance):
            raise ValueError(
                "env must hold the one instance of the oracle: reset it before the oracle acts, and spawn an oracle "
                "for each of several instances"
            )
        return instance

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        if contexts.ndim == len(self.problem.context_shape):
            return np.asarray(allowed_scores(self.instance.linear_predictors(contexts), mask).argmax())
        return np.array([self._choose(x, rng, mask) for x in contexts], dtype=np.int64)

    def _formula(self, context: Array, mask: BoolArray | None) -> Array:
        chosen = self._choose(context, self._rngs["predict-greedy"], mask)  # draws nothing
        return any_of(np.arange(self.problem.num_actions) == chosen)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        return best_of_all(self.instance.linear_predictors(context), mask, size, None)

    def _choose_greedily(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._choose(contexts, rng, mask)

    def _learn(self, context: Array, action: int, reward: float) -> None:
        return

    def _forget(self) -> None:
        return

    def _state(self) -> Mapping[str, Array | IntArray]:
        return {"parameters": self.instance.parameters}

    def _restore(self, state: Mapping[str, Any]) -> None:
        return


def _uniform(num_actions: int, rows: tuple[int, ...], rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
    """Draw one allowed action uniformly at random for each row."""
    if mask is None:
        return np.asarray(rng.integers(num_actions, size=rows))
    allowed = np.flatnonzero(mask)
    return np.asarray(allowed[rng.integers(len(allowed), size=rows)])
