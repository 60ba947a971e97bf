"""The bandit whose actions share one parameter vector, drawn from a diffusion prior."""

from __future__ import annotations

import os

import gymnasium as gym
import numpy as np

from dts_gym.envs.base import BanditEnv, Observation
from dts_gym.envs.diffusion import LinkKind, RewardKind, chain_of, rewards_of
from dts_gym.envs.vector import vector_maker
from dts_gym.priors.prior import Prior
from dts_gym.problem.contexts import FeatureLaw, checked_feature_law, draw_features, sample_of_features
from dts_gym.problem.problem import BanditInstance, BanditProblem
from dts_gym.utils.validation import boolean, integer


class SharedDiffusionBanditEnv(BanditEnv):
    """A contextual bandit whose actions differ by features and share one parameter from a chain, linear by default.

    ## Description
    At reset one parameter vector ``theta`` is drawn from the prior's chain. Every round shows features ``phi(x, a)``
    of all actions and pays a noisy reward of mean ``phi(x, a)' theta``.

    ## Action Space
    ``Discrete(num_actions)``.

    ## Observation Space
    ``Box(-1, 1, (num_actions, dim), float32)``: a row of features for each action.

    ## Rewards
    ``N(phi(x, a)' theta, noise_std^2)``, or Bernoulli or Poisson as in `DiffusionBandit-v0`. ``info`` holds
    ``expected_reward``, ``optimal_action``, ``regret``, ``cumulative_regret`` (unless ``regret_info=False``).

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``num_actions=100``: K, the number of actions.
    - ``dim=5``: d, the dimension of features and parameter; None: 5, or that of the given prior.
    - ``depth=2``: L, the number of levels of the chain; None: 2, or that of the given prior.
    - ``horizon=5000``: number of rounds of an episode.
    - ``noise_std=1.0``: standard deviation of Gaussian rewards.
    - ``link="linear"``: kind of the drawn prior's links, linear or ``"mlp"`` (two layers, ReLU).
    - ``reward="gaussian"``: reward family, ``"gaussian"``, ``"bernoulli"`` or ``"poisson"``.
    - ``prior=None``: a prior of your own, or a file of one; None draws one from ``prior_seed``.
    - ``prior_seed=0``: seed for the drawn prior's weights; the prior exists before the first reset.
    - ``feature_law="cube"``: distribution of features: uniform on the cube [-1, 1]^d, in the unit ``"ball"`` or on its
      ``"sphere"``.
    - ``fixed_features=False``: whether the features are drawn once for each instance, not anew each round.
    - ``instance_seed=None``: seed that pins the instance over resets; None draws a new instance at every reset.
    - ``regret_info=True``: whether ``info`` reports the expected reward, the best action and the regret.
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
        feature_law: FeatureLaw = "cube",
        fixed_features: bool = False,
        instance_seed: int | None = None,
        regret_info: bool = True,
        render_mode: str | None = None,
    ) -> None:
        chain = chain_of(dim, depth, link, prior, prior_seed)
        self.feature_law = checked_feature_law(feature_law)
        self.fixed_features = boolean("fixed_features", fixed_features)
        problem = BanditProblem(
            num_actions,
            chain.dim,
            chain,
            rewards_of(reward, noise_std),
            "shared",
            horizon,
            context_sample=sample_of_features(self.feature_law, (integer("num_actions", num_actions, 1), chain.dim)),
            fixed_context=self.fixed_features,
        )
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info, render_mode=render_mode)

    def _context_space(self) -> gym.spaces.Box[np.float32]:
        return gym.spaces.Box(-1.0, 1.0, self.problem.context_shape, np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        theta = self.problem.prior.sample(rng, 1)[0]
        return BanditInstance(theta, self.problem.reward_model)

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        return draw_features(self.feature_law, self.problem.context_shape, rng, count)


make_vector = vector_maker(SharedDiffusionBanditEnv)
