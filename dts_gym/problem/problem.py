"""The parts of a bandit that an agent may know: sizes, prior, reward family, horizon."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dts_gym.priors.chains import prior_from_state
from dts_gym.priors.features import FeaturePrior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.prior import Prior
from dts_gym.problem.action_names import ActionNames, checked_names
from dts_gym.problem.rewards import RewardModel, reward_model
from dts_gym.problem.unknown import UnknownPrior, UnknownReward
from dts_gym.utils.arrays import Array
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import LARGEST, as_float64, boolean, choice, finite_array, integer

Features = Literal["disjoint", "shared"]


@dataclass(frozen=True, eq=False, repr=False)
class BanditProblem(Shown):
    """A contextual bandit problem as its agents see it.

    Parameters
    ----------
    num_actions : K, the number of actions.
    dim : d, the dimension of contexts and parameters.
    prior : prior distribution of the parameters; its ``dim`` is d.
    reward_model : distribution of a reward given ``x' theta``.
    features : "disjoint" (a theta for each action, contexts (d,)) or "shared" (one theta, contexts (K, d)).
    horizon : number of rounds in one instance; None where it is unknown.
    past_parameters : (N, d) parameters of past actions, for agents that fit a prior of their own.
    context_sample : (N, d) contexts like those to come, with shared features (N, K, d), for agents that simulate what
        they believe; None where they are unknown.
    fixed_context : whether an instance shows one context in all its rounds.
    item_features : (K, p) features of the items that the actions stand for; None where there are none.
    action_names : (K,) different strings, the names of these items, which are shown beside the actions' numbers in
        tables, files, frames and messages; kept as a tuple. None: actions are shown by their numbers alone.

    Examples
    --------
    >>> from dts_gym import BernoulliReward, random_linear_prior
    >>> BanditProblem(10, 3, random_linear_prior(3, 2), BernoulliReward(), horizon=None).prior
    LinearDiffusionPrior(dim=3, depth=2, branch=0)
    """

    num_actions: int
    dim: int
    prior: Prior
    reward_model: RewardModel
    features: Features = "disjoint"
    horizon: int | None = 5000
    past_parameters: Array | None = None
    context_sample: Array | None = None
    fixed_context: bool = False
    item_features: Array | None = None
    action_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_actions", integer("num_actions", self.num_actions, 1))
        object.__setattr__(self, "dim", integer("dim", self.dim, 1))
        if self.horizon is not None:
            object.__setattr__(self, "horizon", integer("horizon", self.horizon, 1))
        if not isinstance(self.prior, Prior):
            raise ValueError(f"prior must be a dts_gym Prior, got {self.prior!r:.200}")
        if self.prior.dim != self.dim:
            raise ValueError(f"prior must have dim {self.dim}, got a prior of dim {self.prior.dim}")
        if isinstance(self.prior, FeaturePrior):
            raise ValueError(
                f"prior must be that of the actions, prior.for_actions(item_features), got {self.prior!r:.200}"
            )
        if isinstance(self.prior, MixedEffectPrior | OffsetPrior) and self.prior.num_actions != self.num_actions:
            raise ValueError(f"prior must describe {self.num_actions} actions, got one of {self.prior.num_actions}")
        if not isinstance(self.reward_model, RewardModel):
            raise ValueError(f"reward_model must be a dts_gym RewardModel, got {self.reward_model!r:.200}")
        choice("features", self.features, get_args(Features))
        if self.past_parameters is not None:
            past = finite_array("past_parameters", self.past_parameters, (None, self.dim), LARGEST)
            if not len(past):
                raise ValueError(f"past_parameters must have a row or more, got shape {past.shape}")
            object.__setattr__(self, "past_parameters", past)
        if self.context_sample is not None:
            sample = finite_array("context_sample", self.context_sample, (None, *self.context_shape), LARGEST)
            if not len(sample):
                raise ValueError(f"context_sample must have a row or more, got shape {sample.shape}")
            object.__setattr__(self, "context_sample", sample)
        object.__setattr__(self, "fixed_context", boolean("fixed_context", self.fixed_context))
        if self.item_features is not None:
            items = finite_array("item_features", self.item_features, (self.num_actions, None), LARGEST)
            if not items.shape[1]:
                raise ValueError(f"item_features must have a column or more, got shape {items.shape}")
            object.__setattr__(self, "item_features", items)
        object.__setattr__(self, "action_names", checked_names(self.action_names, self.num_actions))

    @property
    def context_shape(self) -> tuple[int, ...]:
        """(d,) for disjoint features, (K, d) for shared ones."""
        return (self.dim,) if self.features == "disjoint" else (self.num_actions, self.dim)

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Settings (JSON) and arrays from which `problem_from_state` builds an equal problem."""
        prior_settings, prior_arrays = self.prior.state()
        arrays = {f"prior.{name}": array for name, array in prior_arrays.items()}
        if self.past_parameters is not None:
            arrays["past_parameters"] = self.past_parameters
        if self.context_sample is not None:
            arrays["context_sample"] = self.context_sample
        if self.item_features is not None:
            arrays["item_features"] = self.item_features
        settings: dict[str, Any] = {
            "num_actions": self.num_actions,
            "dim": self.dim,
            "features": self.features,
            "horizon": self.horizon,
            "reward": {"name": self.reward_model.name, **self.reward_model.settings()},
            "prior": prior_settings,
            "fixed_context": self.fixed_context,
        }
        if self.action_names is not None:
            settings["action_names"] = list(self.action_names)
        return settings, arrays


@dataclass(frozen=True, eq=False, repr=False)
class BanditInstance(Shown):
    """One bandit: the parameters that an environment drew, hidden from agents (only Oracle may look).

    Parameters
    ----------
    parameters : (K, d), or (d,) where all actions share one.
    reward_model : distribution of a reward given ``x' theta``.
    fixed_context : float32 context that every round of the instance shows; None: every round draws a new one.
    """

    parameters: Array
    reward_model: RewardModel
    fixed_context: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        parameters = as_float64("parameters", self.parameters)
        shape = (None,) * (1 if parameters.ndim == 1 else 2)
        object.__setattr__(self, "parameters", finite_array("parameters", parameters, shape, copy=False))
        if self.fixed_context is not None:
            fixed = as_float64("fixed_context", self.fixed_context)
            fixed = finite_array("fixed_context", fixed, (None,) * (1 if fixed.ndim == 1 else 2))
            object.__setattr__(self, "fixed_context", fixed.astype(np.float32))

    def linear_predictors(self, context: Array) -> Array:
        """``x' theta`` of every action, (K,), from a context (d,) (or (K, d) for a shared parameter).

        For n contexts, (n, d) or (n, K, d), the result is (n, K).
        """
        x = as_float64("context", context)
        if self.parameters.ndim == 1:
            return x @ self.parameters
        return x @ self.parameters.T

    def linear_predictor(self, context: Array, action: int) -> float:
        """``x' theta`` of one action, from a context as in `linear_predictors`."""
        x, a = as_float64("context", context), integer("action", action, 0)
        if self.parameters.ndim == 1:
            return float(x[a] @ self.parameters)
        return float(self.parameters[a] @ x)

    def expected_rewards(self, context: Array) -> Array:
        """Mean reward of every action, (K,)."""
        return self.reward_model.mean(self.linear_predictors(context))


def problem_from_state(settings: dict[str, Any], arrays: dict[str, Array]) -> BanditProblem:
    """Build the problem that `BanditProblem.state` described."""
    prior_arrays = {k.removeprefix("prior."): v for k, v in arrays.items() if k.startswith("prior.")}
    no_prior, no_reward = settings["prior"].get("kind") == "unknown", settings["reward"] == {"name": "unknown"}
    return BanditProblem(
        num_actions=settings["num_actions"],
        dim=settings["dim"],
        prior=UnknownPrior(settings["dim"]) if no_prior else prior_from_state(settings["prior"], prior_arrays),
        reward_model=UnknownReward() if no_reward else reward_model(**settings["reward"]),
        features=settings["features"],
        horizon=settings["horizon"],
        past_parameters=arrays.get("past_parameters"),
        context_sample=arrays.get("context_sample"),
        fixed_context=settings.get("fixed_context", False),  # older files have none
        item_features=arrays.get("item_features"),
        action_names=settings.get("action_names"),
    )


def problem_of(env: Any) -> BanditProblem | None:
    """The problem of an environment, ``env.unwrapped.problem``; None where it has none.

    For a vector environment that holds whole environments, Gymnasium's or stable-baselines3's, it is that of the first.
    """
    problem = getattr(getattr(env, "unwrapped", env), "problem", None)
    if problem is None and hasattr(env, "get_attr"):
        with suppress(AttributeError):
            problem = env.get_attr("problem")[0]
    return problem if isinstance(problem, BanditProblem) else None


def names_of(env: Any, agent: Any = None) -> ActionNames | None:
    """The action names of an environment's problem, else of an agent's; None where neither has any."""
    for problem in (problem_of(env), getattr(agent, "problem", None)):
        if isinstance(problem, BanditProblem) and problem.action_names is not None:
            return tuple(problem.action_names)
    return None
