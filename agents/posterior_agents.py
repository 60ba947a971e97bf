"""Agents that learn a posterior of all actions' parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from dts_gym.agents.base import Agent
from dts_gym.agents.catalogues import Catalogue
from dts_gym.agents.cautions import Belief, FirstRewards
from dts_gym.agents.estimates import Estimates
from dts_gym.agents.inputs import checked_problem
from dts_gym.posteriors.exploration import Exploration, Setting
from dts_gym.posteriors.interface import BatchPosterior, BoundedPosterior, Posterior
from dts_gym.posteriors.ranking import ranked_bounds, ranked_draw
from dts_gym.priors.fitting import marginal_moments
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.problem.unknown import UnknownPrior, UnknownReward
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import MOST, integer, positive

P = TypeVar("P", bound=Posterior)
B = TypeVar("B", bound=BoundedPosterior)


class ModelAgent(Agent, Catalogue, Estimates, Generic[P]):
    """An agent that learns a posterior of all actions' parameters; subclasses define which, and how to choose."""

    _posterior: P

    @abstractmethod
    def _make_posterior(self) -> P:
        """The posterior before any data."""

    def _forget(self) -> None:
        self._posterior = self._make_posterior()
        self._first = FirstRewards()

    def _prior_moments(self) -> tuple[Array, Array]:
        """Mean (d,) and covariance (d, d) of an action's parameters before any reward; some by a few hundred draws."""
        return marginal_moments(self.problem.prior)

    def _look_at(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        assert self._first is not None
        if self._first.count + len(rewards) != self.num_updates:  # of a file: the first rewards are gone
            self._first = None
            return
        rows = contexts if self.problem.features == "disjoint" else contexts[np.arange(len(actions)), actions]
        if self._first.note(rows, rewards):
            beliefs = [Belief(self.reward_model, self._prior_moments)]
            if not isinstance(self.problem.prior, UnknownPrior):  # an agent may be set against its problem on purpose
                known = self.problem
                beliefs.append(Belief(known.reward_model, lambda: marginal_moments(known.prior)))
            finding = self._first.finding(beliefs)
            self._first = None
            if finding is not None:
                self.warn(finding, stacklevel=3)

    def _is_careful(self) -> bool:
        return bool(getattr(self._posterior, "is_careful", False))

    def _learn(self, context: Array, action: int, reward: float) -> None:
        self._posterior.update(context, action, reward)

    def _learn_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        if isinstance(self._posterior, BatchPosterior):
            self._posterior.update_all(contexts, actions, rewards)
        else:
            super()._learn_all(contexts, actions, rewards)

    def _choose_greedily(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._posterior.greedy(contexts, mask)

    def _state(self) -> Mapping[str, Array | IntArray]:
        return self._posterior.state()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._posterior.restore(dict(state))


class PosteriorAgent(ModelAgent[P]):
    """An agent with a posterior that it draws from, or whose upper bounds it uses, at an exploration scale.

    Parameters
    ----------
    problem, seed : as in `Agent`.
    exploration : factor on every posterior standard deviation, or a rule for it, see
        `dts_gym.posteriors.exploration.Exploration`; 1 is the Bayesian answer.
    horizon : number of rewards that rules plan for; None uses the run's number, else the problem's.
    noise_std : standard deviation of the Gaussian rewards that the agent assumes; None uses the problem's.
    """

    _expands = False  # whether rewards of any family are accepted, by a quadratic expansion
    _by_bounds = False  # whether the agent uses upper confidence bounds
    default_exploration: ClassVar[float | None] = 1.0  # None: the agent chooses a rule where none is set

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: int | np.random.SeedSequence | None,
        exploration: Setting | None,
        horizon: int | None,
        noise_std: float | None,
        **settings: Any,
    ) -> None:
        if noise_std is None and isinstance(checked_problem(problem).reward_model, UnknownReward):
            UnknownReward.refuse()
        if exploration is None and self.default_exploration is not None:
            raise ValueError(f"exploration must be a positive finite number, got {exploration}")
        self._exploration = Exploration(exploration, self._by_bounds)
        self._horizon = None if horizon is None else integer("horizon", horizon, 1)
        self._noise_std = None if noise_std is None else positive("noise_std", noise_std)
        if self._noise_std is not None:
            settings["noise_std"] = self._noise_std
        if self._horizon is not None:
            settings["horizon"] = self._horizon
        super().__init__(problem, seed=seed, exploration=self._exploration.setting, **settings)

    @property
    def exploration(self) -> Setting:
        """The exploration that was set: a number, the name of a rule, or a function of ``(t, n)``."""
        return self._exploration.named(self._known_horizon)

    @property
    def exploration_scale(self) -> float:
        """The factor on posterior standard deviations in the next choice, and in estimates until then.

        Raises
        ------
        ValueError
            If the rule needs a horizon, and neither the agent nor a run nor the problem has set one.
        """
        t = 0 if self._plan.start is None else self.num_updates - self._plan.start
        K, d, shared = self.problem.num_actions, self.problem.dim, self.problem.features == "shared"
        return self._exploration.scale(t, self._known_horizon, num_actions=K, dim=d, shared=shared)

    @property
    def _known_horizon(self) -> int | None:
        """The number of rewards that a rule plans for: the agent's own, else the run's, else the problem's."""
        return self._horizon or self._plan.num_rewards or self.problem.horizon

    @property
    def noise_std(self) -> float:
        """Standard deviation of the rewards that the agent assumes."""
        assert isinstance(self.reward_model, GaussianReward)
        return self.reward_model.noise_std

    def sample_parameters(self, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, (K, d), or (d,) of the one that they share: for small K.

        Parameters
        ----------
        size : number n of independent draws, returned as (n, K, d) or (n, d); for a chain of many levels n draws cost
            little more than one. None returns one draw, without the leading axis.

        Notes
        -----
        As exact as the agent; the draws have a random stream of their own.
        """
        count = None if size is None else integer("size", size, 1, most=MOST)
        with self._lock:
            return self._posterior.sample_parameters(self._rngs["parameters"], self.exploration_scale, count)

    def moments(self) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major; (d,) and (d, d) of a shared parameter.

        As exact as the agent; for small K.
        """
        with self._lock:
            return self._posterior.moments(self.exploration_scale)

    def _repr_facts(self) -> Mapping[str, Any]:
        first = {"exploration": self.exploration} if "exploration" in self._settings else {}
        return {**first, **super()._repr_facts(), **first}

    @property
    def _beliefs(self) -> tuple[Posterior, RewardModel, float]:
        return self._posterior, self.reward_model, self.exploration_scale

    def _believed_rewards(self) -> RewardModel:
        if self._noise_std is not None:
            return GaussianReward(self._noise_std)
        if not (self._expands or isinstance(self.problem.reward_model, GaussianReward)):
            raise ValueError(
                f"noise_std must be given where the rewards are not Gaussian: {type(self).__name__} believes in "
                f"Gaussian rewards, the problem has {self.problem.reward_model!r}"
            )
        return self.problem.reward_model


class ThompsonSampling(PosteriorAgent[P]):
    """An agent that plays the best action of one posterior draw, with a new draw for each context."""

    is_by_scores = True

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._posterior.thompson(contexts, rng, self.exploration_scale, mask)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        return ranked_draw(self._posterior, context, rng, self.exploration_scale, mask, size)


class UpperConfidence(PosteriorAgent[B]):
    """An agent that plays the action of the largest mean plus ``exploration`` posterior standard deviations.

    A bound picks the same action for equal contexts until it learns. So a batch is picked in order: each pick counts as
    if its reward were its mean, which narrows the bounds of those after it and, where the posterior is Gaussian, moves
    no mean. Plays whose rewards have not come (``pending`` of `act`) count in the same way.
    """

    picks_in_order = True
    is_by_scores = True
    _by_bounds = True

    def _choose(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._posterior.upper_confidence(contexts, rng, self.exploration_scale, mask)

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        return ranked_bounds(self._posterior, context, rng, self.exploration_scale, mask, size)

    def _slates(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
        size: int,
    ) -> IntArray:
        rows = contexts[None] if self._is_single(contexts) else contexts
        picked = np.empty((len(rows), size), dtype=np.int64)
        before = self._posterior.state()
        try:
            for x, action in () if pending is None else zip(*pending, strict=True):
                self._posterior.expect(x, int(action))
            for i, x in enumerate(rows):
                picked[i] = self._ranked(x, rng, mask[i] if mask is not None and mask.ndim == 2 else mask, size)
                for action in picked[i].tolist() if i + 1 < len(rows) else ():
                    self._posterior.expect(x, action)
        finally:
            self._posterior.restore(before)
        return picked[0] if self._is_single(contexts) else picked

    def _play(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
    ) -> IntArray:
        single = self._is_single(contexts)
        if pending is None and (single or len(contexts) == 1):
            return super()._play(contexts, rng, mask, None)
        before = self._posterior.state()
        rows = contexts[None] if single else contexts
        chosen = np.empty(len(rows), dtype=np.int64)
        try:
            for x, action in () if pending is None else zip(*pending, strict=True):
                self._posterior.expect(x, int(action))
            for i, x in enumerate(rows):
                chosen[i] = self._choose(x, rng, mask[i] if mask is not None and mask.ndim == 2 else mask)
                if i + 1 < len(rows):
                    self._posterior.expect(x, int(chosen[i]))
        finally:
            self._posterior.restore(before)
        return chosen[0] if single else chosen
