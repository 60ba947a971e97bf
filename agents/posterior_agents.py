"""Agents that learn a posterior of all actions' parameters."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from dts_gym.agents.base import Agent
from dts_gym.agents.catalogues import Catalogue
from dts_gym.agents.cautions import OF_FIRST_REWARDS
from dts_gym.agents.estimates import Estimates
from dts_gym.agents.exploring import Exploring
from dts_gym.agents.inputs import checked_problem
from dts_gym.posteriors.exploration import Setting
from dts_gym.posteriors.interface import BatchPosterior, BoundedPosterior, Posterior
from dts_gym.priors.fitting import marginal_moments
from dts_gym.problem.first_rewards import Belief, FirstRewards
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.problem.unknown import UnknownPrior, UnknownReward
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import MOST, finite_array, integer, positive

P = TypeVar("P", bound=Posterior)
B = TypeVar("B", bound=BoundedPosterior)
R = TypeVar("R")


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
                self.warn(OF_FIRST_REWARDS[finding], stacklevel=3)

    def _is_careful(self) -> bool:
        return bool(getattr(self._posterior, "is_careful", False))

    def _learn(self, context: Array, action: int, reward: float) -> None:
        self._posterior.update(context, action, reward)

    def _learn_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        if isinstance(self._posterior, BatchPosterior):
            self._posterior.update_all(contexts, actions, rewards)
        else:
            for context, action, reward in zip(contexts, actions.tolist(), rewards.tolist(), strict=True):
                self._posterior.update(context, action, reward)

    def _choose_greedily(self, contexts: Array, rng: np.random.Generator, mask: BoolArray | None) -> IntArray:
        return self._posterior.greedy(contexts, mask)

    def _state(self) -> Mapping[str, Array | IntArray]:
        return self._posterior.state()

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._posterior.restore(dict(state))


class PosteriorAgent(Exploring, ModelAgent[P]):
    """An agent with a posterior that it draws from, or whose upper bounds it uses, at an exploration scale.

    Parameters
    ----------
    problem, seed : as in `Agent`.
    exploration : factor on every posterior standard deviation, or a rule for it, see
        `dts_gym.posteriors.exploration.Exploration`; 1 is the Bayesian answer; "auto" chooses at the first `act`, by
        simulating what the agent believes.
    horizon : number of rewards that rules plan for; None uses the run's number, else the problem's.
    contexts : (N, d) contexts like those to come, with shared features (N, K, d), for "auto"; None uses the problem's
        ``context_sample``, else the first 50 seen.
    tuning_rounds : most rounds that "auto" simulates, summed over runs; None: a number that follows from the sizes.
    noise_std : standard deviation of the Gaussian rewards that the agent assumes; None uses the problem's.
    """

    _expands = False  # whether rewards of any family are accepted, by a quadratic expansion
    default_exploration: ClassVar[float | None] = 1.0  # None: the agent chooses a rule where none is set

    def __init__(
        self,
        problem: BanditProblem,
        *,
        seed: int | np.random.SeedSequence | None,
        exploration: Setting | None,
        horizon: int | None,
        contexts: Any = None,
        tuning_rounds: int | None = None,
        noise_std: float | None,
        **settings: Any,
    ) -> None:
        if noise_std is None and isinstance(checked_problem(problem).reward_model, UnknownReward):
            UnknownReward.refuse()
        if exploration is None and self.default_exploration is not None:
            raise ValueError(f"exploration must be a positive finite number, got {exploration}")
        self.problem = problem
        settings |= self._set_exploration(exploration, horizon, contexts, tuning_rounds)
        self._noise_std = None if noise_std is None else positive("noise_std", noise_std)
        if self._noise_std is not None:
            settings["noise_std"] = self._noise_std
        super().__init__(problem, seed=seed, **settings)

    def _forget(self) -> None:
        self._seen = self._no_contexts()
        super()._forget()

    def _state(self) -> Mapping[str, Array | IntArray]:
        state = super()._state()
        return {**state, "exploration.seen": self._seen} if self._is_auto else state

    def _restore(self, state: Mapping[str, Any]) -> None:
        learned = {name: array for name, array in state.items() if name != "exploration.seen"}
        if self._is_auto:
            self._seen = finite_array("exploration.seen", state["exploration.seen"], (None, *self._seen.shape[1:]))
        super()._restore(learned)

    def _pristine(self) -> Self:
        return self._rebuild(self.problem, self._settings, self._state())

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
