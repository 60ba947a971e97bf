"""A set of actions that changes: new items join an agent's problem, and places of old ones are used again."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NoReturn

import numpy as np

from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.mixed_effects.choices import MixedEffectChoices
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.problem.action_names import grown_names, renamed
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import LARGEST, finite_array, integer


class Catalogue:
    """The methods by which the actions of an agent with a posterior change."""

    problem: BanditProblem
    _lock: threading.RLock
    _settings: dict[str, Any]
    _posterior: Any

    def add_actions(
        self, item_features: Any = None, count: int | None = None, action_names: Sequence[str] | None = None
    ) -> IntArray:
        """Add new actions after the others, and return their numbers.

        Parameters
        ----------
        item_features : (n, p) a row for each new action, where the problem's prior is a `MixedEffectPrior` with mixing
            weights and one covariance for all actions: features as given to `FeaturePrior.for_actions` where the prior
            was made by it, else the new rows of ``mixing``. Offsets are zero.
        count : number n of new actions, where the prior does not tell actions apart.
        action_names : (n,) names of the new actions, where the problem names its actions; None: ``"action 7"`` and so
            on, by their numbers.

        Returns
        -------
        (n,) ints

        Raises
        ------
        ValueError
            If neither or both are given, an argument does not fit the prior, or the agent's posterior cannot grow, or
            it has ``adapt_scale``. The agent is then unchanged.

        Notes
        -----
        What the agent knows of the other actions stays as it was to the last bit; the new ones are unplayed. The agent
        has a problem of its own from then on, which `reset`, `spawn` and `save` keep, with ``item_features`` of all
        actions, or None where those of the new ones are not known. The posterior is not copied: the cost is that of a
        copy of the actions' features. With shared features the number of actions is part of each context, and nothing
        need be added.

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
            self._refuse_unfit("add_actions")
            if isinstance(problem.prior, OffsetPrior):
                raise ValueError(f"problem must have a prior to which actions can be added, got {problem.prior!r:.200}")
            prior: MixedEffectPrior | None = None
            if isinstance(problem.prior, MixedEffectPrior):
                if item_features is None or problem.prior.action_cov.ndim == 3:
                    raise ValueError(
                        "item_features must be given with a prior of mixed effects, whose action_cov must be (d, d), "
                        f"got {item_features!r:.200} and {problem.prior.action_cov.shape}"
                    )
                features, rows = self._weights_of(item_features, None)
                prior, n = problem.prior.grown(rows), len(rows)
                known = problem.item_features
                alike = known is not None and known.shape[1] == features.shape[1]
                items = np.concatenate([known, features]) if known is not None and alike else None
            else:
                if count is None:
                    raise ValueError(
                        f"count must be given where the prior does not tell actions apart, got {item_features!r:.200}"
                    )
                n, items = integer("count", count, 1), None
            if getattr(self._settings.get("prior_mean"), "ndim", 0) == 2:
                self._refuse_changes("add_actions")
            K, names = problem.num_actions + n, grown_names(problem.action_names, action_names, n)
            posterior: Any = self._posterior
            posterior.grow(prior if self._follows_problem else n)
            told = {"num_actions": K, "prior": prior or problem.prior, "item_features": items, "action_names": names}
            self.problem = _changed(problem, told)
        return np.arange(problem.num_actions, K)

    def retire(self, action: int, item_features: Any = None, action_name: str | None = None) -> None:
        """Forget an action's own parameters, so that its number can stand for a new item.

        Parameters
        ----------
        action : number of the action.
        item_features : (p,) the new item's features or row of ``mixing``, as in `add_actions`, where the problem's
            prior is a `MixedEffectPrior` with mixing weights; None leaves it.
        action_name : name of the new item, where the problem names its actions; None: ``"action 7"``, by the number.

        Raises
        ------
        ValueError
            If the action is out of range, the features do not fit, or the agent's posterior is neither one around a
            shared part, exact or by a quadratic expansion, nor one of mixed effects, or it has ``adapt_scale``. The
            agent is then unchanged.

        Notes
        -----
        Exact for Gaussian rewards: what the old item's rewards told of the shared part stays true evidence about it, as
        if the old item were integrated out of the joint posterior, and the new one is unplayed; where the prior has
        offsets, it has that of the number. Rewards of other families are expanded; those of the last 256 retired items
        are kept, and expanded again as later rewards move the shared part. Other actions stay as they were to the last
        bit. The posterior is not copied: the cost is that of a few updates, and with new features that of a copy of all
        actions' features.

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
            self._refuse_unfit("retire")
            problem = self.problem
            told: dict[str, Any] = {}
            if problem.action_names is not None or action_name is not None:
                told["action_names"] = renamed(problem.action_names, number, action_name)
            posterior: Any = self._posterior
            if item_features is None:
                posterior.retire(number)
            else:
                features, row = self._weights_of(item_features, number)
                assert isinstance(problem.prior, MixedEffectPrior)
                items = problem.item_features
                if items is not None:
                    items = items.copy() if items.shape[1] == features.shape[1] else None
                if items is not None:
                    items[number] = features[0]
                prior = problem.prior.with_weights(number, row[0])
                told |= {"prior": prior, "item_features": items}
                posterior.retire(*((number, prior) if self._follows_problem else (number,)))
            self.problem = _changed(problem, told)

    @property
    def _follows_problem(self) -> bool:
        """Whether the posterior is that of the problem's own prior, and one of mixed effects."""
        return isinstance(self._posterior, MixedEffectChoices) and self._posterior.prior is self.problem.prior

    def _weights_of(self, item_features: Any, number: int | None) -> tuple[Array, Array]:
        """Return features of items (n, p), and the rows of mixing weights that they give; else raise ValueError."""
        prior = self.problem.prior
        if not isinstance(prior, MixedEffectPrior):
            raise ValueError(f"item_features must be left out for a prior without mixing weights, got {prior!r:.200}")
        shape = (None, None) if number is None else (None,)
        features = np.atleast_2d(finite_array("item_features", item_features, shape, LARGEST))
        if not len(features):
            raise ValueError(f"item_features must have a row or more, got shape {features.shape}")
        return features, prior.weights_of(features)

    def _refuse_unfit(self, method: str) -> None:
        if not isinstance(self._posterior, TwoLevelPosterior | GLMPosterior | MixedEffectChoices):
            self._refuse_changes(method)
        if isinstance(self._posterior, TwoLevelPosterior | GLMPosterior) and self._posterior.table.is_stacked:
            raise ValueError(f"{method} must be called after the block in which agents play together, got it within")
        if getattr(self, "adapt_scale", False):  # the rounds that it keeps would be replayed with other actions
            raise ValueError(f"{method} must be called on an agent that does not adapt its prior, got adapt_scale=True")

    def _refuse_changes(self, method: str) -> NoReturn:
        raise ValueError(
            f"{method} must be called on an agent with an exact Gaussian posterior, one by a quadratic expansion or "
            f"one of mixed effects, and for add_actions with one prior_mean for all actions; got {type(self).__name__} "
            f"with a {type(self._posterior).__name__}"
        )


def _changed(problem: BanditProblem, parts: Mapping[str, Any]) -> BanditProblem:
    """A problem with other parts, which are checked: as `dataclasses.replace`, without looking at every item again."""
    changed = copy(problem)
    for name, value in parts.items():
        object.__setattr__(changed, name, value)
    return changed
