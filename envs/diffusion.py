"""The bandit whose action parameters are drawn from a diffusion prior."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, get_args

import gymnasium as gym
import numpy as np

from dts_gym.envs.base import BanditEnv, Observation
from dts_gym.envs.vector import vector_maker
from dts_gym.priors.chains import as_prior
from dts_gym.priors.misspecified import misspecified_prior, rescaled_prior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.offsets import OffsetPrior
from dts_gym.priors.prior import ChainPrior, Prior, as_chain_prior
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.problem.contexts import FeatureLaw, checked_feature_law, draw_features, sample_of_features
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.problem.rewards import RewardModel, reward_model
from dts_gym.utils.validation import boolean, choice, integer

LinkKind = Literal["linear", "mlp"]
RewardKind = Literal["gaussian", "bernoulli", "poisson"]


class DiffusionBanditEnv(BanditEnv):
    """A contextual bandit whose action parameters come from a chain, linear by default.

    ## Description
    At reset the parameters of all K actions are drawn from the prior: a chain of levels of which the upper ones
    all actions share. Every round shows a context ``x`` and pays a noisy reward of mean ``x' theta_a``.

    ## Action Space
    ``Discrete(num_actions)``.

    ## Observation Space
    ``Box(-1, 1, (dim,), float32)``: contexts, drawn as ``feature_law`` says.

    ## Rewards
    ``N(x' theta_a, noise_std^2)``; or Bernoulli of mean ``1 / (1 + exp(-x' theta_a))``, or Poisson of mean
    ``exp(x' theta_a)``. ``info`` holds ``expected_reward``, ``optimal_action``, ``regret``,
    ``cumulative_regret`` (unless ``regret_info=False``).

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``num_actions=100``: K, the number of actions.
    - ``dim=5``: d, the dimension of contexts and parameters; None: 5, or that of the given prior.
    - ``depth=2``: L, the number of levels of the chain; None: 2, or that of the given prior.
    - ``horizon=5000``: number of rounds of an episode.
    - ``noise_std=1.0``: standard deviation of Gaussian rewards.
    - ``link="linear"``: kind of the drawn prior's links, linear or ``"mlp"`` (two layers, ReLU).
    - ``reward="gaussian"``: reward family, ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``.
    - ``prior=None``: a prior of your own, or a file of one; None draws one from ``prior_seed``.
    - ``prior_seed=0``: seed for the drawn prior's weights; the prior exists before the first reset.
    - ``stds=None``: standard deviations of the drawn prior, ``sigma_1 .. sigma_{L+1}`` with ``Sigma_l = sigma_l^2 I``,
      or one number for all; None is 1.
    - ``weight_norm=None``: spectral norm to which every weight of the drawn linear prior is scaled; None leaves them.
    - ``feature_law="cube"``: distribution of contexts: uniform on the cube [-1, 1]^d, in the unit ``"ball"`` or on its
      ``"sphere"``.
    - ``fixed_features=False``: whether an episode shows one context in all its rounds, drawn with the instance.
    - ``prior_error=0.0``: v, the size of the error in the prior that agents see: above 0 that is a linear chain whose
      weights and covariances are off by entries uniform on ``[v, v + 0.5]``, drawn from ``prior_seed``.
    - ``prior_scale=1.0``: factor on the variances of the prior that agents see, a linear chain.
    - ``branch=None``: levels above this one are shared by all actions, 0..L; None: the prior's own (0 if drawn).
    - ``instance_seed=None``: seed that pins the instance over resets; None draws a new instance at every reset.
    - ``regret_info=True``: whether ``info`` reports the expected reward, the best action and the regret, at O(K d) a
      step.
    - ``render_mode=None``: None, ``"rgb_array"`` or ``"human"`` (a window); frames show the truth, the regret and the
      agent given to `watch`.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        num_actions: int = 100,
        dim: int | None = None,
        depth: int | None = None,
        horizon: int = 5000,
        noise_std: float = 1.0,
        link: LinkKind = "linear",
        reward: RewardKind = "gaussian",
        prior: Prior | str | os.PathLike[str] | None = None,
        prior_seed: int = 0,
        stds: float | Sequence[float] | None = None,
        weight_norm: float | None = None,
        feature_law: FeatureLaw = "cube",
        fixed_features: bool = False,
        prior_error: float = 0.0,
        prior_scale: float = 1.0,
        branch: int | None = None,
        instance_seed: int | None = None,
        regret_info: bool = True,
        render_mode: str | None = None,
    ) -> None:
        self.feature_law = checked_feature_law(feature_law)
        self.fixed_features = boolean("fixed_features", fixed_features)
        given = None if prior is None else as_prior(prior)
        told: Prior
        if isinstance(given, MixedEffectPrior | OffsetPrior):
            chains_own = {"depth": depth, "stds": stds, "weight_norm": weight_norm, "branch": branch}
            self._law = told = _for_known_actions(given, dim, chains_own, prior_error, prior_scale)
        else:
            chain = chain_of(dim, depth, link, given, prior_seed, stds, weight_norm)
            chain = chain if branch is None else chain.with_branch(branch)
            self._law = chain
            told = misspecified_prior(rescaled_prior(chain, prior_scale), prior_error, seed=prior_seed)
        sample = sample_of_features(self.feature_law, (told.dim,))
        rewards = rewards_of(reward, noise_std)
        problem = BanditProblem(
            num_actions,
            told.dim,
            told,
            rewards,
            horizon=horizon,
            context_sample=sample,
            fixed_context=self.fixed_features,
        )
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info, render_mode=render_mode)

    def _context_space(self) -> gym.spaces.Box[np.float32]:
        return gym.spaces.Box(-1.0, 1.0, (self.problem.dim,), np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        return BanditInstance(self._law.sample(rng, self.problem.num_actions), self.problem.reward_model)

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        return draw_features(self.feature_law, self.problem.context_shape, rng, count)


make_vector = vector_maker(DiffusionBanditEnv)


def _for_known_actions(
    prior: MixedEffectPrior | OffsetPrior,
    dim: int | None,
    chains_own: dict[str, Any],
    prior_error: float,
    prior_scale: float,
) -> Prior:
    """Return a prior of mixed effects, if nothing is set that only chains have; else raise ValueError."""
    for name, value in chains_own.items():
        if value is not None:
            raise ValueError(f"{name} must be left out with {type(prior).__name__}, got {value!r:.200}")
    for name, value, usual in (("prior_error", prior_error, 0.0), ("prior_scale", prior_scale, 1.0)):
        if value != usual:
            raise ValueError(f"{name} must be {usual:g} with {type(prior).__name__}, got {value!r:.200}")
    if dim is not None and dim != prior.dim:
        raise ValueError(f"dim must be the given prior's, {prior.dim}, or left out, got {dim}")
    return prior


def chain_of(
    dim: int | None,
    depth: int | None,
    link: str,
    prior: Any,
    prior_seed: int,
    stds: float | Sequence[float] | None = None,
    weight_norm: float | None = None,
) -> ChainPrior:
    """Return the given prior, or that of a file, whose sizes must be those asked for; without one, draw a prior."""
    choice("link", link, get_args(LinkKind))
    if prior is None:
        seed = integer("prior_seed", prior_seed, 0)
        sizes = 5 if dim is None else dim, 2 if depth is None else depth
        sigmas = 1.0 if stds is None else stds
        if link == "linear":
            return random_linear_prior(*sizes, stds=sigmas, weight_norm=weight_norm, seed=seed)
        if weight_norm is not None:
            raise ValueError(f"weight_norm must be left out with link {link!r}, got {weight_norm!r}")
        return random_mlp_prior(*sizes, stds=sigmas, seed=seed)
    given = as_chain_prior(as_prior(prior))
    for name, value in (("stds", stds), ("weight_norm", weight_norm)):
        if value is not None:
            raise ValueError(f"{name} must be left out with a prior of your own, got {value!r}")
    for name, asked, has in (("dim", dim, given.dim), ("depth", depth, given.depth)):
        if asked is not None and asked != has:
            raise ValueError(f"{name} must be the given prior's, {has}, or left out, got {asked}")
    return given


def rewards_of(reward: str, noise_std: float) -> RewardModel:
    """Return the reward family of that name; Gaussian rewards read ``noise_std``."""
    is_gaussian = isinstance(reward, str) and reward == "gaussian"
    return reward_model(reward, noise_std=noise_std) if is_gaussian else reward_model(reward)
