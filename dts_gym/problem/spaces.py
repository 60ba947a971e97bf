"""Makes a bandit problem from the spaces of an environment outside this package."""

from __future__ import annotations

import os
from typing import Any

from gymnasium.spaces import Box, Discrete
from gymnasium.vector import VectorEnv

from dts_gym.priors.chains import as_prior
from dts_gym.priors.prior import Prior
from dts_gym.problem.problem import BanditProblem, Features
from dts_gym.problem.rewards import RewardModel, reward_model
from dts_gym.problem.unknown import UnknownPrior, UnknownReward


def problem_from_spaces(
    env: Any,
    *,
    prior: Prior | str | os.PathLike[str] | None = None,
    reward: RewardModel | str | None = None,
    noise_std: float | None = None,
) -> BanditProblem:
    """Make the problem of an environment that has none, from its action space and observation space.

    Parameters
    ----------
    env : environment with ``Discrete(K)`` actions, and ``Box`` observations (d,), which are contexts, or (K, d), a row
        of features for each action. For a vector environment, the spaces of one sub-environment.
    prior : prior of the parameters, or a file of one; None: the problem has no prior, and LinTS, LinUCB, GLM-TS,
        UCB-GLM, EpsilonGreedy and Random need none.
    reward : reward family, "gaussian", "bernoulli", "poisson", or a model; None is "gaussian" where ``noise_std`` is
        given, and otherwise unknown.
    noise_std : standard deviation of Gaussian rewards.

    Returns
    -------
    BanditProblem
        A problem with disjoint features for observations (d,), shared ones for (K, d). Its horizon is None.

    Raises
    ------
    ValueError
        If the spaces are of other kinds, the prior has another dimension, or ``noise_std`` does not fit ``reward``.

    Notes
    -----
    Rewards are assumed to have mean ``g(x' theta)``: the only intercept is a coordinate of the observation that is
    always 1. Gymnasium's wrappers make such observations: `FlattenObservation` of a ``Discrete`` one (a unit vector)
    or of an image, `TransformObservation` for anything.

    Examples
    --------
    >>> import gymnasium as gym
    >>> env = gym.make("CartPole-v1")
    >>> problem = problem_from_spaces(env, noise_std=1.0)
    >>> problem.num_actions, problem.dim, problem.features, problem.reward_model
    (2, 4, 'disjoint', GaussianReward(noise_std=1.0))
    """
    single = "single_" if isinstance(env, VectorEnv) else ""
    actions, observations = (getattr(env, f"{single}{name}_space") for name in ("action", "observation"))
    if not isinstance(actions, Discrete) or actions.start != 0:
        raise ValueError(f"env must have a Discrete action space that starts at 0, got {actions!r:.200}")
    K, shape = int(actions.n), observations.shape
    if not isinstance(observations, Box) or shape is None or len(shape) not in (1, 2) or 0 in shape:
        raise ValueError(
            f"env must have Box observations of shape (d,) or ({K}, d), got {observations!r:.200}: Gymnasium's "
            "FlattenObservation makes vectors of them"
        )
    if len(shape) == 2 and shape[0] != K:
        raise ValueError(
            f"env must have observations (d,), or a row for each of its {K} actions, ({K}, d), got shape {shape}: "
            "Gymnasium's FlattenObservation makes vectors of them"
        )
    features: Features = "disjoint" if len(shape) == 1 else "shared"
    known = UnknownPrior(shape[-1]) if prior is None else as_prior(prior)
    return BanditProblem(K, shape[-1], known, _rewards(reward, noise_std), features, horizon=None)


def _rewards(reward: RewardModel | str | None, noise_std: float | None) -> RewardModel:
    if isinstance(reward, RewardModel):
        model = reward
    elif (isinstance(reward, str) and reward == "gaussian") or (reward is None and noise_std is not None):
        if noise_std is None:
            raise ValueError("noise_std must be given with Gaussian rewards, got None")
        return reward_model("gaussian", noise_std=noise_std)
    else:
        model = UnknownReward() if reward is None else reward_model(reward)
    if noise_std is not None:
        raise ValueError(f"noise_std must be left out with rewards {model!r}, got {noise_std!r}")
    return model
