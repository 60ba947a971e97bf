"""The bandit derived from MovieLens ratings: users are contexts, movies are actions."""

from __future__ import annotations

import os

import gymnasium as gym
import numpy as np

from dts_gym.arrays import Array, integer
from dts_gym.datasets import Factors, cached_factors
from dts_gym.envs.base import BanditEnv, Observation
from dts_gym.envs.vector import vector_maker
from dts_gym.fitting import fit_linear_chain
from dts_gym.problem import BanditInstance, BanditProblem
from dts_gym.rewards import GaussianReward
from dts_gym.seeding import stream


class MovieLensBanditEnv(BanditEnv):
    """A contextual bandit made of real ratings: which of K movies will this user like?

    ## Description
    The centred ratings are factorised once, ``rating - mean = user' movie + noise``, and kept in a cache. Movies
    with enough ratings are split in two: the prior is fitted to the training movies, and the K actions of an
    episode are drawn at reset from the others. Every round a random user comes along. Users' factors have identity
    covariance, so that priors on movies mean the same on every data set.

    The problem's prior is a chain of ``depth`` identity links: its top is at 0, the last link adds the training
    movies' mean, and their covariance is split evenly over the levels, so that `branch` says which share of it all
    movies have in common. `past_parameters` are the training movies.

    ## Action Space
    ``Discrete(num_actions)``: movies.

    ## Observation Space
    ``Box(lowest, highest, (rank,), float32)``: a user's factors, bounds over all users.

    ## Rewards
    The centred rating, ``N(user' movie, noise_std^2)`` in stars above the mean of all ratings; ``noise_std`` is that
    of the factorisation's residuals. ``info`` holds ``expected_reward``, ``optimal_action``, ``regret``,
    ``cumulative_regret`` (unless ``regret_info=False``).

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``data="ml-1m"``: a release name (downloaded on first use) or a path to a zip, folder or ratings file.
    - ``num_actions=100``: K.
    - ``rank=5``: d, of the factorisation.
    - ``horizon=5000``: rounds of an episode.
    - ``depth=2``: L, links of the fitted chain.
    - ``branch=None``: levels above it are shared by all movies, 0..L; None: L - 1, the top level shared.
    - ``noise_std=None``: standard deviation of the rewards; None: from the residuals.
    - ``min_ratings=20``: movies with fewer ratings are left out.
    - ``train_fraction=0.5``: share of the movies that the prior is fitted to.
    - ``split_seed=0``: of that split.
    - ``instance_seed=None``: pins the instance over resets.
    - ``regret_info=True``: whether ``info`` tells the truth, at O(K d) a step.

    ## Version History
    - v0: first version.
    """

    def __init__(
        self,
        data: str | os.PathLike[str] = "ml-1m",
        num_actions: int = 100,
        rank: int = 5,
        horizon: int = 5000,
        depth: int = 2,
        branch: int | None = None,
        noise_std: float | None = None,
        min_ratings: int = 20,
        train_fraction: float = 0.5,
        split_seed: int = 0,
        instance_seed: int | None = None,
        regret_info: bool = True,
    ) -> None:
        K, L = integer("num_actions", num_actions, 1), integer("depth", depth, 1)
        factors = cached_factors(data, rank)
        train, self._held_out = _split(factors, min_ratings, train_fraction, split_seed)
        if len(self._held_out) < K:
            raise ValueError(
                f"num_actions must be at most {len(self._held_out)}, the movies of {os.fspath(data)!r} with "
                f"{min_ratings} ratings or more that the prior is not fitted to, got {K}"
            )
        self._users = factors.user_factors.astype(np.float32)
        problem = BanditProblem(
            num_actions=K,
            dim=factors.movie_factors.shape[1],
            prior=fit_linear_chain(train, L, L - 1 if branch is None else branch),
            reward_model=GaussianReward(factors.noise_std if noise_std is None else noise_std),
            horizon=horizon,
            past_parameters=train,
        )
        super().__init__(problem, instance_seed=instance_seed, regret_info=regret_info)

    def _context_space(self) -> gym.spaces.Box[np.float32]:
        return gym.spaces.Box(self._users.min(axis=0), self._users.max(axis=0), dtype=np.float32)

    def _draw_instance(self, rng: np.random.Generator) -> BanditInstance:
        chosen = rng.choice(len(self._held_out), self.problem.num_actions, replace=False)
        return BanditInstance(self._held_out[chosen], self.problem.reward_model)

    def _draw_contexts(self, rng: np.random.Generator, count: int) -> Observation:
        return self._users[rng.integers(len(self._users), size=count)]


make_vector = vector_maker(MovieLensBanditEnv)


def _split(factors: Factors, min_ratings: int, train_fraction: float, split_seed: int) -> tuple[Array, Array]:
    """Movies' factors of the training and of the held-out part, (N, d) each."""
    least = integer("min_ratings", min_ratings, 1)
    if isinstance(train_fraction, bool) or not isinstance(train_fraction, int | float) or not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction must be a number between 0 and 1, got {train_fraction!r}")
    seed = integer("split_seed", split_seed, 0)
    movies = factors.movie_factors[factors.counts >= least]
    if len(movies) < 4:
        raise ValueError(f"min_ratings must leave 4 movies or more, got {least}, which leaves {len(movies)}")
    shuffled = movies[stream(seed, "split").permutation(len(movies))]
    num_train = min(max(2, round(train_fraction * len(movies))), len(movies) - 1)
    return shuffled[:num_train], shuffled[num_train:]
