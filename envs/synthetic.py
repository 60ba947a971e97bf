"""The bandit whose parameters are drawn from a shape: its true prior is not a chain of Gaussians."""

from __future__ import annotations

import os
from typing import Literal

import gymnasium as gym
import numpy as np

from dts_gym.datasets.shapes import Shape, sample_shape, shape_dim
from dts_gym.envs.base import BanditEnv, Observation
from dts_gym.envs.diffusion import RewardKind, rewards_of
from dts_gym.envs.vector import vector_maker
from dts_gym.pretraining.prior_cache import learned_prior
from dts_gym.priors.prior import Prior
from dts_gym.priors.reverse_process import Schedule
from dts_gym.problem.contexts import FeatureLaw, checked_feature_law, draw_features, sample_of_features
from dts_gym.problem.problem import BanditInstance, BanditProblem, Features
from dts_gym.utils.memory import refuse_larger
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import boolean, integer


class SyntheticBanditEnv(BanditEnv):
    """A contextual bandit whose parameters come from a shape in the plane (or more dimensions).

    ## Description
    At reset every action's parameters, or with shared features the one parameter of all, are drawn from a shape: a
    Swiss roll, two moons, a cross (`dts_gym.datasets.sample_shape` lists them all). Every round shows a context ``x``
    and pays a noisy reward of mean ``x' theta_a``; or features ``phi(x, a)`` of all actions, mean ``phi(x, a)' theta``.

    The problem's `past_parameters` are other draws from the shape, to fit priors to. Unless a prior is given, the
    problem's prior is a chain of identity links with the mean and covariance of these draws, and its top level is
    shared by all actions.

    ## Action Space
    ``Discrete(num_actions)``.

    ## Observation Space
    ``Box(-1, 1, (dim,), float32)``: contexts, drawn as ``feature_law`` says; or with shared features
    ``Box(-1, 1, (num_actions, dim), float32)``: a row of features for each action.

    ## Rewards
    ``N(x' theta_a, noise_std^2)``, or Bernoulli or Poisson as in `DiffusionBandit-v0`. ``info`` holds
    ``expected_reward``, ``optimal_action``, ``regret``, ``cumulative_regret`` (unless ``regret_info=False``).

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``shape="swiss-roll"``: the shape's name.
    - ``num_actions=100``: K, the number of actions.
    - ``dim=None``: d >= 2, the dimension of the parameters; None: the shape's own, 3 for the Swiss roll, else 2.
    - ``features="disjoint"``: parameters for every action, or ``"shared"``, one vector for all.
    - ``feature_law="cube"``: distribution of contexts or features: uniform on the cube [-1, 1]^d, in the unit
      ``"ball"`` or on its ``"sphere"``.
    - ``fixed_features=False``: whether shared features are drawn once for each instance, not anew each round.
    - ``horizon=5000``: number of rounds of an episode.
    - ``noise_std=1.0``: standard deviation of Gaussian rewards.
    - ``reward="gaussian"``: reward family, ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``.
    - ``prior="linear"``: the chain fitted to the past parameters; or ``"diffusion"``, a denoising diffusion model of
      them (`dts_gym.pretraining`, extra ``torch``), trained on first use and kept in the cache; or a prior of your own,
      or a file of one.
    - ``depth=None``: L, the number of links of the learned chain; None: 2 for "linear", 40 for "diffusion".
    - ``schedule=None``: noise schedule of "diffusion", "cosine" (None) or "constant", 0.97 a step.
    - ``num_past=10_000``: N >= 2, the number of past parameters.
    - ``past_seed=0``: seed for the past parameters, which exist before the first reset and are independent of all
      instances.
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
        shape: Shape = "swiss-roll",
        num_actions: int = 100,
        dim: int | None = None,
        features: Features = "disjoint",
        feature_law: FeatureLaw = "cube",
        fixed_features: bool = False,
        horizon: int = 5000,
        noise_std: float = 1.0,
        reward: RewardKind = "gaussian",
        prior: Literal["linear", "diffusion"] | Prior | str | os.PathLike[str] = "linear",
        depth: int | None = None,
        schedule: Schedule | None = None,
        num_past: int = 10_000,
        past_seed: int = 0,
        instance_seed: int | None = None,
        regret_info: bool = True,
        render_mode: str | None = None,
    ) -> None:
        if schedule is not None and not (isinstance(prior, str) and prior == "diffusion"):
            raise ValueError(f"schedule must be left out but with the prior 'diffusion', got {schedule!r}")
        d = shape_dim(shape, dim)
        self.shape: Shape = shape
        self.feature_law = checked_feature_law(feature_law)
        self.fixed_features = boolean("fixed_features", fixed_features)
        rng = stream(integer("past_seed", past_seed, 0), "past-parameters")
        size = integer("num_past", num_past, 2)
        refuse_larger("num_past * dim", f"{size} x {d} past parameters", 32 * size * d)
        past = sample_shape(shape, rng, size, d)
        shown = (d,) if features == "disjoint" else (integer("num_actions", num_actions, 1), d)
        problem = BanditProblem(
            num_actions=num_actions,
            dim=d,
            prior=learned_prior(prior, past, depth, None, **({} if schedule is None else {"schedule": schedule})),
            reward_model=rewards_of(reward, noise_std),
            features=features,
            horizon=horizon,
            past_parameters=past,
            context_sample=sample_of_features(self.feature_law, shown),
            fixed_context=self.fixed_features,
        )
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info, render_mode=render_mode)

    def _context_space(self) -> gym.spaces.Box[np.float32]:
        return gym.spaces.Box(-1.0, 1.0, self.problem.context_shape, np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        problem = self.problem
        count = problem.num_actions if problem.features == "disjoint" else 1
        theta = sample_shape(self.shape, rng, count, problem.dim)
        return BanditInstance(theta if problem.features == "disjoint" else theta[0], problem.reward_model)

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        return draw_features(self.feature_law, self.problem.context_shape, rng, count)


make_vector = vector_maker(SyntheticBanditEnv)
