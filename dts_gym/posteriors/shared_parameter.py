"""Bandits whose actions share one parameter vector: the posterior of a single action, evaluated at all features."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.careful_posterior import CarefulPosterior
from dts_gym.posteriors.choices import any_of_best
from dts_gym.posteriors.information import RewardDraws
from dts_gym.posteriors.interface import ConfidencePosterior, Engine
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.mixture_posterior import MixturePosterior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class SharedParameterPosterior:
    """Posterior of one ``theta`` under rewards of mean ``g(phi(x, a)' theta)``, and the actions that it picks.

    Parameters
    ----------
    engine : the posterior of a bandit of one action with the chain as its prior; every reward is one of that action's,
        with the played action's features as its context.

    Notes
    -----
    As exact as the engine. A choice costs a draw of ``theta``, O(d^3), and O(K d). Contexts are (K, d) or (n, K, d).
    """

    def __init__(self, engine: Engine) -> None:
        if engine.num_actions != 1:
            raise ValueError(f"engine must be of one action, got {engine.num_actions}")
        self.engine = engine

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward; ``context`` is (K, d)."""
        self.engine.update(context[action], 0, reward)

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best allowed action under one posterior draw for each context: (K, d) -> (), (n, K, d) -> (n,).

        ``mask`` (K,) allows actions, None all. Of tied actions, of equal features for one, any is picked.
        """
        if contexts.ndim == 3:
            return np.array([self.thompson(features, rng, scale, mask) for features in contexts], dtype=np.int64)
        if self.is_careful:
            return any_of_best(self._draws(contexts, rng, scale, 1)[0], mask, rng)
        return any_of_best(np.matvec(contexts, self.sample_parameters(rng, scale)), mask, rng)

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed action of the largest mean plus ``scale`` posterior standard deviations; ties at random.

        Of a mixture the largest upper bound, see `NormalLaws.upper_bound`.
        """
        if contexts.ndim == 3:
            rows = [self.upper_confidence(features, rng, scale, mask) for features in contexts]
            return np.array(rows, dtype=np.int64)
        if isinstance(self.engine, MixturePosterior):
            return any_of_best(self.laws(contexts[None], 1.0).own.upper_bound(scale)[0], mask, rng)
        if self.is_careful:
            own = self.laws(contexts[None], 1.0).own
            return any_of_best((own.mean() + scale * np.sqrt(own.variance()))[0], mask, rng)
        return any_of_best(parameter_bounds(contexts, *self.moments(1.0), scale), mask, rng)

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean; ``context`` is (K, d)."""
        assert isinstance(self.engine, ActionPosterior | MixturePosterior)  # the engines of agents that use bounds
        self.engine.expect(context[action], 0)

    def reward_draws(
        self,
        context: Array,
        rng: np.random.Generator,
        scale: float,
        num_draws: int,
        model: RewardModel,
        mask: BoolArray | None = None,
    ) -> RewardDraws:
        """Posterior draws of the allowed actions' mean rewards, for one context (K, d): O(num_draws K d)."""
        actions = np.arange(len(context)) if mask is None else np.flatnonzero(mask)
        scores = self._draws(context[actions], rng, scale, num_draws)  # (num_draws, allowed)
        return RewardDraws.of_scores(actions, scores, model)

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``phi(x, a)' theta``, contexts (n, K, d): the engine's, for every row."""
        n, K, d = contexts.shape
        engine = self.engine.laws(contexts.reshape(n * K, d), scale)
        law = engine.own if len(engine.actions) else engine.other
        assert law is not None
        parts = np.broadcast_arrays(*(part[..., 0] if part.ndim == 3 else part for part in law))
        own = NormalLaws(*(np.broadcast_to(part, (len(part), n * K)).reshape(-1, n, K) for part in parts))
        return ActionLaws(K, np.arange(K), own, None)

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        if self.is_careful:
            mean = self.laws(contexts if contexts.ndim == 3 else contexts[None], 1.0).own.mean()
            return any_of_best(mean if contexts.ndim == 3 else mean[0], mask, rng)
        return any_of_best(contexts @ self.moments()[0], mask, rng)

    @property
    def is_careful(self) -> bool:
        """Whether scores are read from the engine, because float64 parameters do not hold them."""
        return isinstance(self.engine, CarefulPosterior | MixturePosterior) and self.engine.is_careful

    def _draws(self, features: Array, rng: np.random.Generator, scale: float, size: int) -> Array:
        """Posterior draws of the scores of k rows of features (k, d): (size, k)."""
        if self.is_careful:
            assert isinstance(self.engine, CarefulPosterior | MixturePosterior)
            return self.engine.score_draws(features, rng, scale, size)
        return np.asarray(self.sample_parameters(rng, scale, size) @ features.T)

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws, one (d,) or ``size`` of them (size, d)."""
        return np.asarray(self.engine.sample_parameters(rng, scale, size)[..., 0, :])

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (d,) and covariance (d, d)."""
        mean, cov = self.engine.moments(scale)
        return mean[0], cov

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return self.engine.state()

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self.engine.restore(state)


def parameter_bounds(features: Array, mean: Array, cov: Array, scale: Array | float) -> Array:
    """Means of ``phi(x, a)' theta`` plus ``scale`` standard deviations, (..., K).

    Features are (..., K, d), the parameter's mean (..., d) and covariance (..., d, d), the scale a number or (..., 1).
    """
    variance = np.vecdot(features @ cov, features)
    return np.asarray(np.matvec(features, mean) + scale * np.sqrt(variance.clip(0.0)))


def posterior_for(problem: BanditProblem, make: Callable[[int], ActionPosterior]) -> ConfidencePosterior:
    """The posterior that ``make`` returns for a number of actions, adapted to the problem's features.

    Where all actions share a parameter, it is that of a single action, evaluated at all features.
    """
    if problem.features == "disjoint":
        return make(problem.num_actions)
    return SharedParameterPosterior(make(1))
