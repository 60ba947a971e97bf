"""A set of actions that changes: new items join an agent's problem, and places of old ones are used again."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn, Self

import numpy as np

from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.mixed_effect_posterior import MixedEffectPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import LARGEST, finite_array, integer


class Catalogue(ABC):
    """The methods by which the actions of an agent with a posterior change."""

    problem: BanditProblem
    _lock: threading.RLock
    _settings: dict[str, Any]
    _posterior: Any

    @classmethod
    @abstractmethod
    def _rebuild(cls, problem: BanditProblem, settings: Mapping[str, Any], state: Mapping[str, Any]) -> Self:
        """A fresh agent with these settings."""

    def add_actions(self, item_features: Any = None, count: int | None = None) -> IntArray:
        """Add new actions after the others, and return their numbers.

        Parameters
        ----------
        item_features : (n, J) a row for each new action, where the problem's prior is a `MixedEffectPrior` with mixing
            weights and one covariance for all actions: the new rows of ``mixing``, with offsets of zero.
        count : number n of new actions, where the prior does not tell actions apart.

        Returns
        -------
        (n,) ints

        Raises
        ------
        ValueError
            If neither or both are given, an argument does not fit the prior, or the agent's posterior cannot grow. The
            agent is then unchanged.

        Notes
        -----
        What the agent knows of the other actions stays as it was to the last bit; the new ones are unplayed. The agent
        has a problem of its own from then on, which `reset`, `spawn` and `save` keep. The cost is that of a copy of the
        posterior. With shared features the number of actions is part of each context, and nothing need be added.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("dTS", BanditProblem(3, 2, random_linear_prior(2, 1), GaussianReward()), seed=0)
        >>> agent.add_actions(count=2), agent.num_actions
        (array([3, 4]), 5)
        """
        problem = self.problem
        if (item_features is None) == (count is None):
            raise ValueError(f"item_features or count must be given, and not both, got {item_features!r:.200}, {count}")
        with self._lock:
            if not isinstance(self._posterior, TwoLevelPosterior | GLMPosterior | MixedEffectPosterior):
                self._refuse_changes("add_actions")
            if isinstance(problem.prior, MixedEffectPrior):
                prior = problem.prior
                if item_features is None or prior.action_cov.ndim == 3:
                    raise ValueError(
                        "item_features must be given with a prior of mixed effects, whose action_cov must be (d, d), "
                        f"got {item_features!r:.200} and {prior.action_cov.shape}"
                    )
                rows = self._weights_of(item_features, None)
                mixing = np.concatenate([prior.mixing, rows])
                means = np.concatenate([prior.action_means, np.zeros((len(rows), prior.dim))])
                grown = MixedEffectPrior(mixing, prior.effect_cov, prior.action_cov, prior.effect_mean, means)
                K = grown.num_actions
                changed = replace(problem, num_actions=K, prior=grown)
            else:
                if count is None:
                    raise ValueError(
                        f"count must be given where the prior does not tell actions apart, got {item_features!r:.200}"
                    )
                K = problem.num_actions + integer("count", count, 1)
                changed = replace(problem, num_actions=K)
            if np.ndim(self._settings.get("prior_mean")) == 2:
                self._refuse_changes("add_actions")
            self._go_on(changed, self._posterior.state())
        return np.arange(problem.num_actions, K)

    def retire(self, action: int, item_features: Any = None) -> None:
        """Forget an action's own parameters, so that its number can stand for a new item.

        Parameters
        ----------
        action : number of the action.
        item_features : (J,) the new item's row of ``mixing``, where the problem's prior is a `MixedEffectPrior` with
            mixing weights; None leaves it.

        Raises
        ------
        ValueError
            If the action is out of range, the features do not fit, or the agent's posterior is not an exact Gaussian
            one around a shared part. The agent is then unchanged.

        Notes
        -----
        Exact: what the old item's rewards told of the shared part stays true evidence about it, as if the old item were
        integrated out of the joint posterior, and the new one is unplayed. Other actions stay as they were to the last
        bit. The cost is that of a copy of the posterior.

        Examples
        --------
        >>> from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
        >>> agent = make_agent("LinTS", BanditProblem(3, 1, random_linear_prior(1, 1), GaussianReward()), seed=0)
        >>> agent.update([[1.0]] * 2, [0, 1], [2.0, 4.0])
        >>> agent.retire(0)
        >>> agent.marginals([1.0])[0]
        array([0., 2., 0.])
        """
        number = integer("action", action, 0, self.problem.num_actions - 1)
        with self._lock:
            if not isinstance(self._posterior, TwoLevelPosterior | MixedEffectPosterior):
                self._refuse_changes("retire")
            problem = self.problem
            if item_features is not None:
                mixing = (
                    problem.prior.mixing.copy() if isinstance(problem.prior, MixedEffectPrior) else np.empty((0, 0))
                )
                row = self._weights_of(item_features, number)
                mixing[number] = row[0]
                prior = problem.prior
                assert isinstance(prior, MixedEffectPrior)
                parts = prior.effect_cov, prior.action_cov, prior.effect_mean, prior.action_means
                problem = replace(problem, prior=MixedEffectPrior(mixing, *parts))
            self._go_on(problem, self._posterior.without(number))

    def _weights_of(self, item_features: Any, number: int | None) -> Array:
        """Return features of items as rows of mixing weights; else raise ValueError."""
        prior = self.problem.prior
        if not isinstance(prior, MixedEffectPrior) or not prior.is_by_weights:
            raise ValueError(f"item_features must be left out for a prior without mixing weights, got {prior!r:.200}")
        shape = (None, prior.mixing.shape[1]) if number is None else (prior.mixing.shape[1],)
        rows = np.atleast_2d(finite_array("item_features", item_features, shape, LARGEST))
        if not len(rows):
            raise ValueError(f"item_features must have a row or more, got shape {rows.shape}")
        return rows

    def _go_on(self, problem: BanditProblem, state: Mapping[str, Array | IntArray]) -> None:
        """Go on with this problem, and a posterior in this state."""
        fresh = self._rebuild(problem, self._settings, state)
        fresh._posterior.restore(state)
        read = ("problem", "_prior", "_chain", "_approximation", "_posterior")
        self.__dict__.update({name: value for name, value in fresh.__dict__.items() if name in read})

    def _refuse_changes(self, method: str) -> NoReturn:
        raise ValueError(
            f"{method} must be called on an agent with an exact Gaussian posterior, or for add_actions with a "
            f"quadratic expansion, and with one prior_mean for all actions; got {type(self).__name__} with a "
            f"{type(self._posterior).__name__}"
        )
